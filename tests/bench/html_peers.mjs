#!/usr/bin/env node
// MB/s of two peers on the pages of bench_html, to be run beside it:
//   bench_html PAGES && node html_peers.mjs PAGES
// html-rewriter-wasm is lol-html (in wasm, one selector, 16 KiB writes), parse5 builds a tree.
// Neither is part of the project: npm install both somewhere and give its node_modules as PEERS;
// a peer that is not there is left out.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const folder = process.argv[2];
if (!folder) {
  console.log('usage: [PEERS=…/node_modules] node html_peers.mjs PAGES');
  process.exit(2);
}
const require = createRequire(path.resolve(process.env.PEERS || '.', 'x.js'));
const load = (name) => { try { return require(name); } catch { return null; } };
const pages = fs.readdirSync(folder).filter((f) => f.endsWith('.html'))
  .map((f) => fs.readFileSync(path.join(folder, f)));
const bytes = pages.reduce((sum, page) => sum + page.length, 0);

async function bench(name, run) {
  let best = Infinity;
  for (let round = 0; round < 5; round++) {
    const start = process.cpuUsage();
    for (const page of pages) await run(page);
    const spent = process.cpuUsage(start);
    best = Math.min(best, (spent.user + spent.system) / 1e6);
  }
  console.log(name.padEnd(32), (bytes / best / 1e6).toFixed(0).padStart(8), 'MB/s');
}

const lol = load('html-rewriter-wasm');
if (lol) {
  await bench('html-rewriter-wasm (lol-html)', async (page) => {
    const rewriter = new lol.HTMLRewriter(() => {});
    rewriter.on('script[src*="doubleclick"]', { element(e) { e.remove(); } });
    for (let at = 0; at < page.length; at += 16384)
      await rewriter.write(page.subarray(at, at + 16384));
    await rewriter.end();
    rewriter.free();
  });
}
const parse5 = load('parse5');
if (parse5) await bench('parse5', async (page) => { parse5.parse(page.toString('latin1')); });
if (!lol && !parse5) console.log('neither peer is installed: skipped');
