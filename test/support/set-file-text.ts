import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { parseSetFile, setFileError } from '../../src/model/set-file.js';

/** The configuration of a set file that is written where it is used. @throws ConfigurationError where it is wrong */
export function configured(text: string): SetConfiguration {
  const parsed = parseSetFile(text, { file: 'test.yaml' });
  if (parsed.issues) throw setFileError(parsed.issues);
  return parsed.configuration;
}
