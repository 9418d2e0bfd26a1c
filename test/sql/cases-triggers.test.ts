/** The trigger cases of PgQ, Slony and Debezium; README.md here says which case stands where. */
import { DEBEZIUM } from '../fixtures/peer-cases/debezium.js';
import { PGQ } from '../fixtures/peer-cases/pgq.js';
import { SLONY } from '../fixtures/peer-cases/slony.js';
import { runPeerCases } from '../support/peer-cases.js';

runPeerCases('PgQ', PGQ);
runPeerCases('Slony', SLONY);
runPeerCases('Debezium', DEBEZIUM);
