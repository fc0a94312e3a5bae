/** Debian's Chromium, driven by Playwright: pages as a person sees them. */
import { chromium, type Browser } from 'playwright-core';
import { program } from '../services/program';

/** Skips the test where no Chromium is installed. */
export function browser(context: Mocha.Context): Promise<Browser> {
  const executablePath = program(context, 'chromium', 'chromium-browser', 'google-chrome');
  const quiet = ['--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--disable-quic', ...quiet] });
}
