/** Puts doctor together: with a coordinator, or with the reason why there is none. */
import { type Diagnosis, type DoctorOptions, runDoctor } from '../admin/doctor/doctor.js';
import type { Coordinator } from '../coordinator/coordinator.js';
import { ShovelError } from '../errors.js';
import { systemClock } from '../runtime/clock.js';
import { openCoordinator } from './open-coordinator.js';
import { nodeOpener } from './open-node.js';
import type { AppSettings } from './settings.js';

/** @throws RefusedError `set_not_found` */
export async function diagnose(settings: AppSettings, options: DoctorOptions): Promise<Diagnosis> {
  const { cluster, signal } = settings;
  const coordinator = await openCoordinator(settings).catch((error: unknown) => {
    if (error instanceof ShovelError) return error;
    throw error;
  });
  try {
    const openNode = nodeOpener(settings, 'doctor');
    return await runDoctor({ cluster, signal, coordinator, openNode, clock: systemClock }, options);
  } finally {
    if (isRunning(coordinator)) await coordinator.stop();
  }
}

function isRunning(coordinator: Coordinator | ShovelError): coordinator is Coordinator {
  return !(coordinator instanceof ShovelError);
}
