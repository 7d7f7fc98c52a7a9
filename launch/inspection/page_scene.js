// What the task shows besides the memory: the map of an agent's world, or vectors as points. State,
// numbers, colours and elements are in page.js.

function showScene() {
  const { points, pictures } = now();
  byId('scene').hidden = !points && !pictures;
  byId('map').toggleAttribute('hidden', !pictures);
  byId('points').toggleAttribute('hidden', !points);
  byId('values').toggleAttribute('hidden', stepNow().value === null);
  if (pictures) showMap(pictures);
  if (points) showPoints(points);
  if (stepNow().value !== null) showValues();
}

function showMap({ height, width, colors }) {
  const canvas = byId('map');
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext('2d');
  const image = pen.createImageData(width, height);
  const start = shown.step * height * width * 3;
  for (let i = 0; i < height * width; i += 1) {
    image.data.set([...colors.subarray(start + 3 * i, start + 3 * i + 3), 255], 4 * i);
  }
  pen.putImageData(image, 0, 0);
  canvas.setAttribute('aria-label', `The world at step ${shown.step + 1}; bright is what the agent observes.`);
  byId('scene-title').textContent = 'The world';
  byId('scene-note').textContent = 'Bright is what the agent observes; the rest is hidden from it.';
}

// The agent's values over the episode as a curve.
function showValues() {
  const svg = byId('values');
  const values = now().steps.map(({ value }) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const at = (t) => [10 + (300 * t) / Math.max(values.length - 1, 1), 70 - (50 * (values[t] - low)) / (high - low || 1)];
  svg.replaceChildren();
  add(svg, 'polyline', { points: values.map((_, t) => at(t).join()).join(' ') });
  const [cx, cy] = at(shown.step);
  add(svg, 'circle', { cx, cy, r: 6 });
  add(svg, 'text', { x: 10, y: 11 }, `value, between ${low.toFixed(2)} and ${high.toFixed(2)}; now ${stepNow().value.toFixed(2)}`);
  svg.setAttribute('aria-label', `The value over the episode, between ${low.toFixed(2)} and ${high.toFixed(2)}`);
}

// The vectors [T][D]; of one dimension as points on a line.
function showPoints(points) {
  const [svg, steps] = [byId('points'), now().steps];
  const flat = points[0].length === 1;
  const answer = steps.at(-1).truth;
  svg.replaceChildren();
  svg.setAttribute('viewBox', flat ? '0 0 320 76' : '0 0 320 320');
  const at = ([x, y]) => [160 + 136 * x, flat ? 44 : 160 - 136 * y];
  if (flat) add(svg, 'path', { class: 'frame', d: 'M24 44H296M24 38v12M160 38v12M296 38v12' });
  else add(svg, 'path', { class: 'frame', d: 'M24 24H296V296H24ZM24 160H296M160 24V296' });
  const m = steps.findIndex(({ mark }) => mark);
  points.forEach((point, t) => {
    const [[x, y], [mx, my]] = [at(point), at(points[m])];
    if (t !== m && Math.max(t, m) <= shown.step) add(svg, 'path', { class: 'distance', d: `M${mx} ${my}L${x} ${y}` });
  });
  const order = points.map((_, t) => t).sort((a, b) => points[a][0] - points[b][0]);
  points.forEach((point, t) => {
    const [cx, cy] = at(point);
    const below = flat && order.indexOf(t) % 2; // neighbours on a line would cover each other
    const kind = `${t <= shown.step ? 'seen' : 'unseen'} ${steps[t].label === answer ? 'given' : 'own'}`;
    if (t === shown.step) add(svg, 'circle', { class: 'at', cx, cy, r: 12 });
    if (t === m) add(svg, 'rect', { class: `dot ${kind}`, x: cx - 6, y: cy - 6, width: 12, height: 12 });
    else add(svg, 'circle', { class: `dot ${kind}`, cx, cy, r: 6 });
    add(svg, 'text', { x: cx, y: below ? cy + 22 : cy - 20 }, steps[t].label.split(' ').pop());
  });
  const texts = points.map((point, t) => `${steps[t].label} at ${point.map((x) => x.toFixed(2)).join(', ')}`);
  svg.setAttribute('aria-label', `The vectors as points: ${texts.join('; ')}. m is ${steps[m].label}, the answer is ${answer}.`);
  byId('scene-title').textContent = 'The vectors as points';
  const note = byId('scene-note');
  note.replaceChildren('Between -1 and 1; filled once they are shown, this step’s with a ring. The square is vector m, the ');
  add(note, 'span', { class: 'key given' }, 'answer');
  note.append(' has this colour.');
}
