import t from 'tap';
import { imageText } from '../../../../src/cli/commands/service/view.js';

t.test('a service shows the image of its main container, and how many others have another', async t => {
  t.equal(imageText(['hello:1']), 'hello:1');
  t.equal(imageText(['hello:1', 'hello:1']), 'hello:1');
  t.equal(imageText(['hello:1', 'proxy:1', 'hello:1', 'log:2']), 'hello:1 +2');
});
