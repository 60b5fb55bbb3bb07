// The rules of accessibility, as axe knows them.
import {readFileSync} from 'node:fs';
import assert from 'node:assert/strict';

const source = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** accessible demands that axe finds nothing on a page as it is. */
export async function accessible(page) {
  await page.evaluate(source + ';0');
  const found = await page.evaluate(async () => (await axe.run(document)).violations);
  assert.deepEqual(found.map(v => `${v.id}: ${v.help}: ${v.nodes.map(n => n.html + ' ' + n.failureSummary).slice(0, 3).join('; ')}`), []);
}
