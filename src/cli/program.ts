/** All commands, and what they have in common. One command a file, in commands/. */

import { releaseVersion } from '../runtime/release.js';
import { addClusterDestroy } from './commands/cluster-destroy.js';
import { addClusterInit } from './commands/cluster-init.js';
import { addClusterRecover } from './commands/cluster-recover.js';
import { addClusterStatus } from './commands/cluster-status.js';
import { addClusterUpgrade } from './commands/cluster-upgrade.js';
import { addDemo } from './commands/demo.js';
import { addDoctor } from './commands/doctor.js';
import { addNodeAdopt } from './commands/node-adopt.js';
import { addRelay } from './commands/relay.js';
import { addSetCreate } from './commands/set-create.js';
import { addSetDiff } from './commands/set-diff.js';
import { addSetDrop } from './commands/set-drop.js';
import { addSetHistory } from './commands/set-history.js';
import { addSetInspect } from './commands/set-inspect.js';
import { addSetList } from './commands/set-list.js';
import { addSetRollback } from './commands/set-rollback.js';
import { addSetUpgrade } from './commands/set-upgrade.js';
import { addVersion } from './commands/version.js';
import { addGlobalOptions } from './global-options.js';
import type { Host } from './host.js';
import type { Runner } from './run-command.js';
import { commandMissing, HELP, ShovelCommand } from './shovel-command.js';

export function buildProgram(runner: Runner, host: Pick<Host, 'stdout'>): ShovelCommand {
  const program = new ShovelCommand('shovel');
  program
    .description(
      'Change data capture for PostgreSQL by triggers: nothing lost, nothing blocked, no extension, no slot.',
    )
    .version(releaseVersion(), '--version', 'the version of this program')
    .helpOption('--help', 'what a command does, with an example')
    .helpCommand('help [command]', 'the same as --help')
    .configureHelp(HELP)
    .configureOutput({
      writeOut: (text) => {
        host.stdout.write(text);
      },
      // Errors are thrown, see ShovelCommand; nothing is left to print here.
      writeErr: () => undefined,
    })
    .addHelpText('beforeAll', ({ error, command }) => {
      if (error) throw commandMissing(command);
      return '';
    })
    .exitOverride();
  addGlobalOptions(program);
  program.examples(
    ['shovel cluster init', 'once, in ZooKeeper or PostgreSQL'],
    ['shovel set create example.yaml', 'begin to capture'],
    ['shovel relay example', 'publish, until told to stop'],
  );

  const cluster = group(program, 'cluster', 'where sets and decisions are kept');
  addClusterInit(cluster, runner);
  addClusterUpgrade(cluster, runner);
  addClusterStatus(cluster, runner);
  addClusterRecover(cluster, runner);
  addClusterDestroy(cluster, runner);
  cluster.examples(['shovel cluster status']);

  const set = group(program, 'set', 'tables that are captured together');
  addSetCreate(set, runner);
  addSetUpgrade(set, runner);
  addSetDiff(set, runner);
  addSetInspect(set, runner);
  addSetList(set, runner);
  addSetHistory(set, runner);
  addSetRollback(set, runner);
  addSetDrop(set, runner);
  set.examples(['shovel set list']);

  const node = group(program, 'node', 'databases of a set');
  addNodeAdopt(node, runner);
  node.examples(['shovel node adopt example main']);

  addRelay(program, runner);
  addDoctor(program, runner);
  addDemo(program, runner);
  addVersion(program, runner);
  return program;
}

function group(program: ShovelCommand, name: string, description: string): ShovelCommand {
  return program.subcommand(name).description(description);
}
