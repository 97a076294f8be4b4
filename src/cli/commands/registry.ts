/**
 * Credentials of this node for registries: tried at the registry, kept by the daemon, readable by root alone.
 *
 * Not here: pulls (image-care.ts), the file (tasks/image, in the daemon).
 */
import { CoveyError } from '../../errors.js';
import { ask } from '../ask.js';
import type { CliContext } from '../context.js';
import type { CommandDefinition, Invocation } from '../definition.js';
import { exitCodes } from '../output/errors.js';

const registryArgument = { name: 'REGISTRY', needed: false } as const;

export const registryCommands: readonly CommandDefinition[] = [
  {
    path: ['login'],
    says: 'Keep a credential for a registry on this node',
    about:
      'The registry is asked at once whether it takes the credential. Every node that pulls private images needs one: log in on each. Without REGISTRY it is docker.io.',
    args: [registryArgument],
    options: [
      { flags: '-u, --username <name>', says: 'User' },
      {
        flags: '-p, --password <password>',
        says: 'Password (others see it in the list of processes: better ask, or use stdin)',
      },
      { flags: '--password-stdin', says: 'Read the password from standard input' },
    ],
    examples: [
      { says: 'asks for what is missing', line: 'covey login registry.site:5000' },
      { says: 'in a script', line: 'covey login -u robot --password-stdin registry.site:5000 < token' },
    ],
    run: runLogin,
  },
  {
    path: ['logout'],
    says: 'Forget the credential of this node for a registry',
    args: [registryArgument],
    options: [],
    examples: [
      { says: 'one of your own', line: 'covey logout registry.site:5000' },
      { says: 'docker.io', line: 'covey logout' },
    ],
    run: runLogout,
  },
];

async function runLogin({ args, flags }: Invocation, context: CliContext): Promise<number> {
  const [registry = 'docker.io'] = args;
  const fromInput = flags.isOn('password-stdin');
  const username = flags.text('username') ?? (await askFor(context, 'Username: ', { isSecret: false, fromInput }));
  const password = fromInput
    ? await readAll(context)
    : (flags.text('password') ?? (await askFor(context, 'Password: ', { isSecret: true, fromInput })));
  const { local } = await context.connect();
  await local.loginRegistry({ registry, username, password }, { signal: context.signal });
  await context.print(`Logged in to ${registry} as ${username}: pulls of this node use it`);
  return exitCodes.done;
}

async function readAll(context: CliContext): Promise<string> {
  let text = '';
  for await (const chunk of context.console.stdin.read()) text += new TextDecoder().decode(chunk, { stream: true });
  return text.replace(/\r?\n$/u, '');
}

async function askFor(
  context: CliContext,
  question: string,
  { isSecret, fromInput }: { readonly isSecret: boolean; readonly fromInput: boolean },
): Promise<string> {
  if (!context.console.stdin.isTerminal || fromInput) {
    throw new CoveyError('bad-argument', 'Cannot log in: user and password are needed', {
      hint: 'covey login -u USER --password-stdin REGISTRY',
    });
  }
  return await ask(context, question, { isSecret, what: 'log in' });
}

async function runLogout({ args }: Invocation, context: CliContext): Promise<number> {
  const [registry = 'docker.io'] = args;
  const { local } = await context.connect();
  const { removed } = await local.logoutRegistry({ registry }, { signal: context.signal });
  await context.print(removed ? `Forgot the credential for ${registry}` : `There was no credential for ${registry}`);
  return exitCodes.done;
}
