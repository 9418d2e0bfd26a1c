/** ActiveMQ Classic for tests, with STOMP only and a durable store. A wrong password is refused, none is not. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { STOMP_LOGIN } from '../catalog.js';
import { probePort } from '../probe.js';
import { javaProgram } from './java-program.js';
import type { Recipe } from './recipe.js';

export interface StompParts {
  readonly java: string;
  readonly jars: string;
}

export function stompRecipe({ java, jars }: StompParts): Recipe {
  return {
    plan: async (directory, { ports: [port = 0] }) => {
      const file = join(directory, 'broker.xml');
      await writeFile(file, configuration(directory, port));
      return [
        {
          name: 'member-1',
          program: javaProgram(directory, {
            ...{ java, jars, heapMb: 256 },
            properties: {
              'activemq.home': directory,
              'activemq.base': directory,
              'activemq.conf': directory,
            },
            main: 'org.apache.activemq.console.command.ShellCommand',
            args: ['start', `xbean:file:${file}`],
          }),
          log: join(directory, 'server.log'),
          probe: () => probePort('stomp', port),
        },
      ];
    },
  };
}

function configuration(directory: string, port: number): string {
  return `<?xml version="1.0" encoding="UTF-8"?>
<beans xmlns="http://www.springframework.org/schema/beans"
       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
       xsi:schemaLocation="http://www.springframework.org/schema/beans http://www.springframework.org/schema/beans/spring-beans.xsd
                           http://activemq.apache.org/schema/core http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="shovel" useJmx="false"
          dataDirectory="${join(directory, 'data')}" schedulerSupport="false" advisorySupport="false">
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="true" anonymousUser="anonymous" anonymousGroup="users">
        <users>
          <authenticationUser username="${STOMP_LOGIN.user}" password="${STOMP_LOGIN.password}" groups="users"/>
        </users>
      </simpleAuthenticationPlugin>
    </plugins>
    <systemUsage>
      <systemUsage>
        <memoryUsage><memoryUsage limit="64 mb"/></memoryUsage>
        <storeUsage><storeUsage limit="1 gb"/></storeUsage>
        <tempUsage><tempUsage limit="256 mb"/></tempUsage>
      </systemUsage>
    </systemUsage>
    <persistenceAdapter>
      <kahaDB directory="${join(directory, 'data', 'kahadb')}" journalMaxFileLength="16mb"/>
    </persistenceAdapter>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:${port}"/>
    </transportConnectors>
  </broker>
</beans>
`;
}
