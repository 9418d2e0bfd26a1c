/** Administrators killed at every point of a change that is staged; see kill-points.ts. */
import { killAtEveryPoint } from '../support/kill-points.js';
import { testPgNo2pcUrl } from '../support/services.js';

killAtEveryPoint({ way: 'staged', server: testPgNo2pcUrl });
