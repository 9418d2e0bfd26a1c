/**
 * Installs what services need and gives their recipes: everything that downloads or calls the system's packages
 * happens here, before anything is launched, in one place, one after another.
 */

import { ConfigurationError } from '../../../src/errors.js';
import type { Service } from '../catalog.js';
import { canInstall, installPackages, type Packages } from '../install/debian.js';
import { fetchJars, hasJars, wrapperPackages } from '../install/jars.js';
import { findJava, JAVA_PACKAGES } from '../install/java.js';
import { clientPackages, postgresBinaries } from '../install/postgres-majors.js';
import { findRedis, REDIS_PACKAGES, redisFromJar } from '../install/redis-server.js';
import type { Site } from '../site.js';
import { kafkaRecipe } from './kafka.js';
import { postgresRecipe } from './postgres.js';
import type { Recipe } from './recipe.js';
import { redisRecipe } from './redis.js';
import { stompRecipe } from './stomp.js';
import { zookeeperRecipe } from './zookeeper.js';

/**
 * The recipe of each service, in their order.
 * @throws ConfigurationError `services_package_missing`, `services_download_differs`; UnreachableError
 * `services_download_failed`
 */
export async function prepareRecipes(site: Site, services: readonly Service[]): Promise<Recipe[]> {
  await installPackages(site, await missingPackages(site, services));
  const recipes: Recipe[] = [];
  for (const service of services) recipes.push(await recipeOf(site, service));
  return recipes;
}

async function missingPackages(site: Site, services: readonly Service[]): Promise<Packages[]> {
  const missing: Packages[] = [];
  const profiles = services.flatMap((service) => profileOf(service) ?? []);
  if (services.some((service) => service.kind === 'postgres')) missing.push(...clientPackages(site));
  const redis = services.some((service) => service.kind === 'redis') && findRedis(site) === undefined;
  if (redis && canInstall(site)) missing.push(REDIS_PACKAGES);
  if (redis && !canInstall(site)) profiles.push('redis');
  if (profiles.length > 0 && (await findJava(site)) === undefined) missing.push(JAVA_PACKAGES);
  if (profiles.some((profile) => !hasJars(site, profile))) missing.push(...wrapperPackages(site));
  return missing;
}

/** The profile of pom.xml. */
function profileOf(service: Service): string | undefined {
  switch (service.kind) {
    case 'zookeeper':
    case 'stomp':
      return service.kind;
    case 'kafka':
      return service.version.startsWith('3.') ? 'kafka-3.9' : 'kafka-4.2';
    case 'postgres':
    case 'redis':
      return undefined;
  }
}

async function recipeOf(site: Site, service: Service): Promise<Recipe> {
  if (service.kind === 'postgres')
    return postgresRecipe(await postgresBinaries(site, Number(service.version)));
  if (service.kind === 'redis')
    return redisRecipe(findRedis(site) ?? (await redisFromJar(site, await requireJava(site))));
  const java = await requireJava(site);
  const jars = await fetchJars(site, { profile: profileOf(service) ?? '', java });
  if (service.kind === 'kafka') return kafkaRecipe({ java, jars });
  if (service.kind === 'stomp') return stompRecipe({ java, jars });
  return zookeeperRecipe({ java, jars, members: service.members });
}

async function requireJava(site: Site): Promise<string> {
  const java = await findJava(site);
  if (java !== undefined) return java;
  throw new ConfigurationError('services_package_missing', `missing: ${JAVA_PACKAGES.what}`, {
    hint: `Install it, and see that \`java -version\` works.`,
  });
}
