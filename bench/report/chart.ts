import { REFERENCE } from '../contestants.js';
import { cellOf, type Results } from '../results.js';
import { short } from './numbers.js';

const WIDTH = 760;
const LABEL_WIDTH = 250;
const VALUE_WIDTH = 60;
const BAR = 12;
const GAP = 18;
const TOP = 64;
const LETTER = 6.5;

/** In the order of preference; the rest of the contestants is in the tables. */
const SHOWN: Record<string, string> = {
  core: '#1f6feb',
  'nest-drpc': '#58a6ff',
  'nest-drpc-bytes': '#a5d6ff',
  'nest-tcp': '#d29922',
  'nest-grpc': '#a371f7',
  'grpc-js': '#8957e5',
  'nest-nats': '#3fb950',
};

/** Throughput as a share of raw-batched: one group of bars for each workload, on a linear scale. */
export function chart(results: Results): string {
  const names = Object.keys(SHOWN).filter((name) => results.contestants.some((entry) => entry.name === name));
  const rows = results.rows.filter(
    (row) => !row.absolute && row.better === 'higher' && row.metric === 'rate',
  );
  const ratios = rows.flatMap((row) => names.map((name) => cellOf(row, name)?.ratio?.median ?? 0));
  const scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / Math.max(1, ...ratios);

  const parts: string[] = [];
  let y = TOP;
  for (const row of rows) {
    const top = y;
    for (const name of names) {
      const median = cellOf(row, name)?.ratio?.median;
      if (median === undefined) continue;
      const width = Math.max(1, median * scale);
      parts.push(
        `<rect x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR - 2}" rx="2" fill="${SHOWN[name]}"/>`,
        `<text class="value" x="${(LABEL_WIDTH + width + 4).toFixed(1)}" y="${y + BAR - 3}">${short(median)}</text>`,
      );
      y += BAR;
    }
    if (y === top) continue;
    parts.push(
      `<text x="${LABEL_WIDTH - 10}" y="${(top + y) / 2 + 3}" text-anchor="end">${escapeText(row.title)}</text>`,
    );
    y += GAP;
  }
  const limit = LABEL_WIDTH + scale;
  let next = 10;
  const legend = names.map((name) => {
    const x = next;
    next += 34 + name.length * LETTER;
    return `<rect x="${x}" y="36" width="10" height="10" rx="2" fill="${SHOWN[name]}"/><text x="${x + 14}" y="45">${name}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img">
<title>Throughput as a share of ${REFERENCE.name}</title>
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 14px; font-weight: 600 }
.value { font-size: 10px }
.limit { stroke: #656d76; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>
<text class="title" x="10" y="20">Share of the throughput of plain sockets (${REFERENCE.name} = 1), more is better</text>
${legend.join('\n')}
<line class="limit" x1="${limit.toFixed(1)}" y1="${TOP - 8}" x2="${limit.toFixed(1)}" y2="${y - GAP + 4}"/>
${parts.join('\n')}
</svg>
`;
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
