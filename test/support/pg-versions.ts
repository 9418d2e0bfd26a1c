/** The servers that tests of capture run on: the newest and the oldest major version. */
import { testPgNo2pcUrl, testPgUrl } from './services.js';

export const SERVERS: readonly { readonly name: string; readonly url: () => string }[] = [
  { name: 'the newest PostgreSQL', url: testPgUrl },
  { name: 'the oldest PostgreSQL', url: testPgNo2pcUrl },
];
