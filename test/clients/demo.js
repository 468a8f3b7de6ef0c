// A running `pawl demo` in a folder of its own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const binary = fileURLToPath(new URL('../../bin/pawl', import.meta.url));

export class Demo {
  // create makes the folder and its keys, opens operations in the policy and
  // serves them.
  static async create(operations) {
    const demo = new Demo();
    demo.temp = await mkdtemp(path.join(tmpdir(), 'pawl-clients-'));
    demo.dir = path.join(demo.temp, 'demo');
    try {
      await demo.start();
      await demo.stop();
      await demo.allow(operations);
      await demo.start();
    } catch (err) {
      await demo.remove();
      throw err;
    }
    return demo;
  }

  // start returns when the demo listens; url and hashes are as it printed them.
  async start() {
    const any = '127.0.0.1:0';
    const args = ['demo', '--dir', this.dir, '--listen', any, '--admin', any, '--card', any];
    this.output = '';
    this.process = spawn(binary, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = once(this.process, 'exit'); // fails when there is no binary
    this.process.stdout.on('data', (data) => { this.output += data; });
    this.process.stderr.on('data', (data) => { this.output += data; });
    await Promise.race([this.listening(), this.exited]);
    const imports = [...this.output.matchAll(/^octez-client import secret key (\S+) (http:\S+)\/(tz\w+)$/gm)];
    if (this.process.exitCode !== null || imports.length !== 3) {
      throw new Error(`pawl demo did not start with three keys:\n${this.output}`);
    }
    this.url = imports[0][2];
    this.hashes = imports.map((line) => line[3]);
  }

  async listening() {
    const complete = () => /"msg":"listening"/.test(this.output)
      && (this.output.match(/^octez-client import/gm) ?? []).length >= 3;
    while (!complete() && this.process.exitCode === null) {
      await Promise.race([once(this.process.stdout, 'data'), once(this.process.stderr, 'data'), this.exited]);
    }
  }

  // allow writes the operations into the policy of all keys, and lets everybody ask: taquito
  // does not authenticate.
  async allow(operations) {
    const file = path.join(this.dir, 'keys.json');
    const config = JSON.parse(await readFile(file, 'utf8'));
    config.policy.operations = operations;
    delete config.authorized_keys;
    await writeFile(file, JSON.stringify(config));
  }

  // stop ends the demo as Ctrl-C does.
  async stop() {
    this.process.kill('SIGINT');
    const [code] = await this.exited;
    if (code !== 0) throw new Error(`pawl demo ended with exit code ${code}:\n${this.output}`);
  }

  // remove stops the demo if it runs and leaves nothing behind.
  async remove() {
    if (this.process?.pid && this.process.exitCode === null) {
      this.process.kill('SIGKILL');
      await this.exited;
    }
    await rm(this.temp, { recursive: true, force: true });
  }
}
