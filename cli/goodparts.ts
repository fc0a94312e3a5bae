#!/usr/bin/env node
import { main } from './main';

// a reader that has seen enough (`goodparts list | head`) is no failure
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

// not process.exit(): what was written to a pipe has to get out first
void main(process.argv.slice(2)).then(code => (process.exitCode = code));
