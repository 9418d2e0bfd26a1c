/** `shovel version` */

import { releaseVersion } from '../../runtime/release.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addVersion(program: ShovelCommand, runner: Runner): void {
  const command = program
    .subcommand('version')
    .description('the version of this program')
    .examples(['shovel version --json']);
  command.action(() =>
    runner.run(command, ONE_SHOT, async () => ({
      document: { version: releaseVersion(), node: process.versions.node },
      lines: () => [`shovel ${releaseVersion()}`],
    })),
  );
}
