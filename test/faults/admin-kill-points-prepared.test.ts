/** Administrators killed at every point of a change that is prepared; see kill-points.ts. */
import { killAtEveryPoint } from '../support/kill-points.js';
import { testPgUrl } from '../support/services.js';

killAtEveryPoint({ way: 'prepared', server: testPgUrl });
