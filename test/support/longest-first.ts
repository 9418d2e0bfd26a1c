/**
 * The order of test files: those that take longest first, whatever project they are of, so that a run does not end
 * with one worker busy and the others idle. Vitest by itself goes project by project, larger files first.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Files that take half a minute or more: seconds with two cores, measured once; only their order matters. */
export const LONG_FILES: Readonly<Record<string, number>> = {
  'test/faults/admin-kill-points-prepared.test.ts': 300,
  'test/faults/admin-race.test.ts': 240,
  'test/faults/admin-kill-points-staged.test.ts': 170,
  'test/faults/kafka-publisher.test.ts': 160,
  'test/faults/capture-under-load.test.ts': 130,
  'test/faults/admin-crash.test.ts': 120,
  'test/e2e/readme.test.ts': 90,
  'test/faults/relay-several.test.ts': 85,
  'test/faults/relay-kafka-away.test.ts': 80,
  'test/faults/admin-prepared-minute.test.ts': 70,
  'test/faults/coordinator-damage.test.ts': 60,
  'test/faults/admin-kill.test.ts': 55,
  'test/faults/admin-coordinator.test.ts': 50,
  'test/e2e/cli-errors.test.ts': 45,
  'test/e2e/pgbench-kafka.test.ts': 45,
  'test/e2e/cluster-upgrade.test.ts': 40,
  'test/e2e/cli.test.ts': 35,
};

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => seconds(b) - seconds(a));
  }
}

function seconds({ moduleId }: TestSpecification): number {
  const path = moduleId.slice(moduleId.lastIndexOf('/test/') + 1);
  return LONG_FILES[path] ?? 0;
}
