/** The trigger cases of PgQ, Slony and Debezium; README.md here says which case stands where. */
import { DEBEZIUM_ROWS } from '../fixtures/peer-cases/debezium-rows.js';
import { DEBEZIUM_TABLES } from '../fixtures/peer-cases/debezium-tables.js';
import { DEBEZIUM_WIDE } from '../fixtures/peer-cases/debezium-wide.js';
import { PGQ } from '../fixtures/peer-cases/pgq.js';
import { SLONY } from '../fixtures/peer-cases/slony.js';
import { runPeerCases } from '../support/peer-cases.js';

runPeerCases('PgQ', PGQ);
runPeerCases('Slony', SLONY);
runPeerCases('Debezium', [...DEBEZIUM_ROWS, ...DEBEZIUM_TABLES, ...DEBEZIUM_WIDE]);
