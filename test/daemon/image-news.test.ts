/** The managers are told of images that tasks had pulled, and of nothing else. */
import t from 'tap';
import { withImageNews } from '../../src/daemon/image-news.js';
import { asId, type TaskId } from '../../src/ids.js';
import type { ImageRecord, TaskImages } from '../../src/tasks/images.js';

const run: ImageRecord['config'] = {
  entrypoint: [],
  command: [],
  env: [],
  user: '',
  workingDir: '',
  stopSignal: '',
  volumes: [],
  healthcheck: undefined,
};
const record = (digest: string): ImageRecord => ({ digest, config: run, layers: [] });
const unused = async (): Promise<never> => {
  throw new Error('not asked for here');
};

t.test('an image that a task had pulled, or pulled anew, is told of; one that was there is not', async t => {
  const here = new Map([['old:1', record('sha256:a')]]);
  const registry = new Map([...here, ['new:1', record('sha256:b')], ['moved:1', record('sha256:c')]]);
  here.set('moved:1', record('sha256:b'));
  const images: TaskImages = {
    find: name => here.get(name),
    ensure: async ({ image }) => {
      const found = registry.get(image);
      if (found === undefined) throw new Error('no such image');
      here.set(image, found);
      return found;
    },
    mountRoot: unused,
    unmountRoot: unused,
    acquire: () => undefined,
    release: () => undefined,
    resolveUser: unused,
  };
  const told: string[] = [];
  const warned: string[] = [];
  const changed = async (): Promise<void> => {
    told.push([...here.keys()].join());
    throw new Error('no manager');
  };
  const { ensure } = withImageNews(images, { changed, log: { warn: text => void warned.push(text) } });
  const ask = (image: string): Promise<ImageRecord> =>
    ensure(
      { taskId: asId<TaskId>('0'.repeat(26)), image, policy: '', onNote: () => undefined },
      new AbortController().signal,
    );
  t.equal((await ask('old:1')).digest, 'sha256:a');
  await t.rejects(ask('nowhere:1'));
  t.same(told, []);
  t.equal((await ask('new:1')).digest, 'sha256:b');
  t.equal((await ask('moved:1')).digest, 'sha256:c');
  t.same(told, ['old:1,moved:1,new:1', 'old:1,moved:1,new:1']);
  await new Promise(resolve => setImmediate(resolve));
  t.equal(warned.length, 2, 'managers that do not hear of it are no reason for the task to fail');
});
