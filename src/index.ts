/**
 * What programs may use of shovel: the words of a set, of its messages and of its errors, and the functions behind
 * the commands. The only file that re-exports; what is not here may change with any release.
 */

export { type AdoptedNode, adoptNode } from './admin/adopt-node.js';
export { type ClusterStatus, clusterStatus, type InDoubt } from './admin/cluster-status.js';
export type { AdminContext, ClusterReader } from './admin/context.js';
export { type Created, type CreateSetOptions, createSet } from './admin/create-set.js';
export { type Dropped, type DropSetOptions, dropSet } from './admin/drop-set.js';
export { type InitializedCluster, initCluster } from './admin/init-cluster.js';
export { type InspectedNode, type InspectedSet, inspectSet } from './admin/inspect-set.js';
export { type ListedSet, listSets } from './admin/list-sets.js';
export type { Plan } from './admin/plan.js';
export {
  type RecoverClusterOptions,
  type RecoveredCluster,
  recoverCluster,
} from './admin/recover-cluster.js';
export { diffSet, type HistoricVersion, type SetDiff, setHistory } from './admin/set-history.js';
export {
  type RollbackSetOptions,
  rollbackSet,
  type Upgraded,
  type UpgradeSetOptions,
  upgradeSet,
} from './admin/upgrade-set.js';
export { withAdmin } from './app/open-admin.js';
export { openCoordinator } from './app/open-coordinator.js';
export { type RunRelaysOptions, runRelays } from './app/run-relays.js';
export type { AppSettings, Variables } from './app/settings.js';
export type { Coordinator } from './coordinator/coordinator.js';
export { type CoordinatorAddress, parseCoordinatorAddress } from './coordinator/coordinator-url.js';
export {
  CheckFoundError,
  ConfigurationError,
  EXIT,
  type ExitCode,
  FencedError,
  InDoubtError,
  IntegrityError,
  RefusedError,
  ShovelError,
  UnreachableError,
  UsageError,
} from './errors.js';
export type * from './model/set-configuration.js';
export { formatIssue, type Issue, type ParsedSetFile, parseSetFile, setFileError } from './model/set-file.js';
export type { RelaySummary } from './relay/relay-options.js';
export { createLogger, type Logger, type LoggerOptions } from './runtime/logger.js';
export { type DecodedMessage, decodeMessage } from './wire/decode.js';
