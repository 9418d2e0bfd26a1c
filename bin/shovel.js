#!/usr/bin/env node
import { main } from '../dist/cli/main.js';

process.exitCode = await main(process.argv.slice(2));
// Whatever should still hold the process, a second later it is gone.
setTimeout(() => process.exit(), 1000).unref();
