import t from 'tap';
import { planCertificates } from '../../../../src/tasks/image/registry-files.js';

t.test("certificates lie in Docker's folders: authorities, and one of our own with its key", async t => {
  const folder = '/etc/covey/certs.d/registry.site:5000';
  t.strictSame(planCertificates(folder, []), { authorities: [], cert: '', key: '' });
  t.strictSame(planCertificates(folder, ['client.key', 'b.crt', 'client.cert', 'a.crt', 'README']), {
    authorities: [`${folder}/a.crt`, `${folder}/b.crt`],
    cert: `${folder}/client.cert`,
    key: `${folder}/client.key`,
  });
  t.throws(() => planCertificates(folder, ['client.cert']), {
    code: 'bad-config',
    message: /"client.key" is not beside it/,
  });
});
