// How the page of `launch.attention` shows one step: a function for each panel. State, numbers,
// colours and elements are in page.js.

function drawSequence() {
  const list = byId('sequence');
  list.replaceChildren();
  now().steps.forEach((step, index) => {
    const item = add(list, 'li', { 'data-step': index }, step.label);
    if (step.mark) item.classList.add('marked');
    if (step.mark) item.title = step.mark;
  });
}

function showPosition() {
  const [list, step] = [byId('sequence'), stepNow()];
  list.querySelector('[aria-current]')?.removeAttribute('aria-current');
  const item = list.children[shown.step];
  item.setAttribute('aria-current', 'step');
  list.scrollTop = item.offsetTop - list.offsetTop - list.clientHeight / 2;
  byId('step').value = shown.step + 1;
  byId('step').setAttribute('aria-valuetext', `${shown.step + 1} of ${now().steps.length}: ${step.label}`);
  byId('count').textContent = `${shown.step + 1} of ${now().steps.length}`;
  const note = byId('note');
  note.replaceChildren();
  if (step.mark) add(note, 'span', { class: 'mark' }, `${step.mark} `);
  note.append(step.note || (step.mark ? '' : `The input is “${step.label}”.`));
}

function buildMatrix() {
  const table = byId('matrix');
  table.replaceChildren();
  table.classList.toggle('dense', data.names.length > 12);
  table.style.setProperty('--columns', data.names.length);
  table.style.setProperty('--column', data.names.length - data.slots > 1 ? '1.4rem' : '0.85rem');
  const longest = Math.max(...data.names.slice(0, data.queries[shown.block]).map(({ length }) => length));
  table.style.setProperty('--names', `${0.45 * longest + 0.6}rem`);
  table.style.setProperty('--row', `${Math.min(Math.max(340 / data.queries[shown.block], 18), 52)}px`);
  const head = add(add(table, 'thead'), 'tr');
  add(head, 'td');
  data.names.forEach((name, k) => {
    const kind = k < data.slots ? 'own' : 'given';
    add(head, 'th', { scope: 'col', 'aria-label': name, class: kind }, shortName(k));
  });
  const body = add(table, 'tbody');
  for (let q = 0; q < data.queries[shown.block]; q += 1) {
    const row = add(body, 'tr');
    add(row, 'th', { scope: 'row' }, data.names[q]);
    data.names.forEach((_, k) => add(add(row, 'td', { class: k < data.slots ? '' : 'given' }), 'span'));
  }
}

function showMatrix(weights) {
  byId('matrix').tBodies[0].childNodes.forEach((row, q) => {
    row.classList.toggle('chosen', shown.query !== 'all' && isChosen(q));
    [...row.cells].slice(1).forEach((cell, k) => {
      const weight = weights[q][k];
      cell.dataset.value = weight.toFixed(5);
      cell.title = `${data.names[q]} attends to ${data.names[k]}: ${percent(weight)}`;
      cell.firstChild.textContent = brief(weight);
      cell.style.backgroundColor = css(ramp(weight));
      cell.style.color = textOn(ramp(weight));
    });
  });
}

function positions() {
  const inputs = data.names.length - data.slots;
  const pitch = Math.min(70, 210 / inputs);
  const columns = data.inputColumns;
  const rows = columns && inputs / columns;
  const side = Math.max(columns, rows);
  return data.names.map((_, i) => {
    const input = i - data.slots;
    if (input >= 0 && columns) {
      const at = (place, count) => 200 + (150 / side) * (place - (count - 1) / 2);
      const [x, y] = [at(input % columns, columns), at(Math.floor(input / columns), rows)];
      return { x, y, r: 60 / side, half: 60 / side, text: '' };
    }
    if (input >= 0) {
      const [x, text] = [200 + pitch * (i - data.slots - (inputs - 1) / 2), inputText(i)];
      return { x, y: 200, r: 17, half: Math.max(20, 4.75 * [...text].length + 8), text };
    }
    const angle = (2 * Math.PI * i) / data.slots - Math.PI / 2;
    const r = Math.min(26, 340 / data.slots);
    return { x: 200 + 140 * Math.cos(angle), y: 200 + 140 * Math.sin(angle), r, angle };
  });
}

function inputText(index) {
  if (data.names.length - data.slots > 1) return shortName(index);
  if (now().pictures) return data.names[index];
  const letters = [...stepNow().label];
  return letters.length > 10 ? `${letters.slice(0, 9).join('')}…` : letters.join('');
}

// The distance from the middle of a node to its edge, in the direction of another position.
function reach(node, to) {
  if (!node.half) return node.r;
  const [dx, dy] = [Math.abs(to.x - node.x), Math.abs(to.y - node.y)];
  return Math.hypot(dx, dy) * Math.min(node.half / (dx || 1e-9), node.r / (dy || 1e-9));
}

function drawLoop(svg, node, weight, kind) {
  const [x, y] = [Math.cos(node.angle ?? Math.PI / 2), Math.sin(node.angle ?? Math.PI / 2)];
  const center = { cx: node.x + x * node.r, cy: node.y + y * node.r, r: node.r * 0.62 };
  add(svg, 'circle', { class: `edge ${kind}`, ...center, ...stroke(weight) });
}

function stroke(weight) {
  return { 'stroke-width': 0.8 + 8 * weight, 'stroke-opacity': 0.12 + 0.88 * Math.sqrt(weight) };
}

function drawArrow(svg, from, to, weight, kind) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  const bend = to.angle === undefined || from.angle === undefined ? 0 : 0.22 * length;
  const middle = { x: (from.x + to.x) / 2 - (dy / length) * bend, y: (from.y + to.y) / 2 + (dx / length) * bend };
  const tip = 7 + 9 * weight;
  const toward = (a, b, distance) => {
    const far = Math.hypot(b.x - a.x, b.y - a.y);
    return { x: a.x + ((b.x - a.x) * distance) / far, y: a.y + ((b.y - a.y) * distance) / far };
  };
  const [start, point] = [toward(from, middle, reach(from, middle)), toward(to, middle, reach(to, middle) + 2)];
  const end = toward(point, middle, tip * 0.9);
  const path = `M${start.x} ${start.y}Q${middle.x} ${middle.y} ${end.x} ${end.y}`;
  add(svg, 'path', { class: `edge ${kind}`, d: path, 'stroke-linecap': 'butt', ...stroke(weight) });
  const [ux, uy] = [(point.x - end.x) / (tip * 0.9), (point.y - end.y) / (tip * 0.9)];
  const [wx, wy] = [(-uy * tip) / 2, (ux * tip) / 2];
  const points = `${point.x},${point.y} ${end.x + wx},${end.y + wy} ${end.x - wx},${end.y - wy}`;
  add(svg, 'polygon', { class: `tip ${kind}`, points, 'fill-opacity': stroke(weight)['stroke-opacity'] });
}

function drawNode(svg, node, index) {
  if (index < data.slots) {
    const rgb = ramp(0.45 * (now().change[shown.step][index] / now().mostChange));
    add(svg, 'circle', { class: 'ring own', cx: node.x, cy: node.y, r: node.r, fill: css(rgb) });
    add(svg, 'text', { x: node.x, y: node.y, fill: textOn(rgb) }, index + 1);
    return;
  }
  const box = { x: node.x - node.half, y: node.y - node.r, width: 2 * node.half, height: 2 * node.r, rx: 9 };
  add(svg, 'rect', { class: 'ring input given', ...box });
  add(svg, 'text', { class: 'input-text', x: node.x, y: node.y }, node.text);
}

function showGraph(weights) {
  const [svg, nodes] = [byId('graph'), positions()];
  svg.replaceChildren();
  svg.setAttribute('viewBox', data.slots === 1 ? '50 5 300 225' : '0 0 400 400');
  weights.forEach((row, q) => {
    if (!isChosen(q)) return;
    row.forEach((weight, k) => {
      const kind = k < data.slots ? 'own' : 'given';
      if (weight < 0.02) return; // too faint to see
      if (q === k) drawLoop(svg, nodes[q], weight, kind);
      else drawArrow(svg, nodes[q], nodes[k], weight, kind);
    });
  });
  nodes.forEach((node, index) => drawNode(svg, node, index));
  const texts = weights.map((row, q) => (isChosen(q) ? describeQuery(row, q) : '')).filter(Boolean);
  svg.setAttribute('aria-label', `Graph of the slots. ${texts.join(' ')}`);
}

function describeQuery(row, q) {
  const most = argmax(row);
  const key = most === q ? 'itself' : data.names[most];
  return `${data.names[q]} attends most to ${key}, ${percent(row[most])}.`;
}

function showAnswers() {
  const [list, step] = [byId('answers'), stepNow()];
  list.replaceChildren();
  for (const [text, probability] of step.answers) {
    const item = add(list, 'li', { class: text === step.truth ? 'true' : '' });
    const name = add(item, 'b', {}, text);
    if (text === step.truth) add(name, 'small', {}, ' (true)');
    if (step.value !== null && text === step.label) add(name, 'small', {}, ' (taken)');
    add(item, 'i', { style: `--part: ${probability}`, 'aria-hidden': 'true' });
    add(item, 'span', { 'data-value': probability }, percent(probability));
  }
  byId('truth').textContent = describeTruth(step);
}

function describeTruth(step) {
  if (!step.answers.length) return 'The model gives no answer at this step.';
  if (step.value !== null) return `The value, the discounted return that the agent expects, is ${step.value.toFixed(2)}.`;
  const [best] = step.answers[0];
  if (!step.truth) return 'There is no right answer to compare with at this step.';
  const guess = best === step.truth ? 'it is the model’s first guess' : `the model’s first guess is “${best}”`;
  return `The true answer is “${step.truth}”; ${guess}.`;
}

function showGates() {
  const table = byId('gates');
  table.replaceChildren();
  const head = add(add(table, 'thead'), 'tr');
  add(head, 'td');
  for (const name of [...data.gates.map((gate) => `${gate} gate`), 'change']) add(head, 'th', { scope: 'col' }, name);
  const body = add(table, 'tbody');
  for (let slot = 0; slot < data.slots; slot += 1) {
    const row = add(body, 'tr');
    add(row, 'th', { scope: 'row' }, data.names[slot]);
    for (const gate of data.gates) addMeter(row, now().gates[gate][shown.step][slot], 1, gate);
    addMeter(row, now().change[shown.step][slot], now().mostChange, 'change');
  }
}

function addMeter(row, value, most, name) {
  const cell = add(row, 'td', { 'data-value': value, 'data-name': name });
  add(meter(cell, value / most, name === 'change' ? 'given' : ''), 'span', {}, value.toFixed(2));
}

// The quantity of the panel over the sequence: [T][N], and the value of the full colour.
function course() {
  const quantity = byId('quantity').value;
  if (quantity === 'change') return { values: now().change, most: now().mostChange };
  if (quantity !== 'attention') return { values: now().gates[quantity], most: 1 };
  const at = (t) => attentionAt(now(), shown.block, t, shown.head).slice(0, data.slots);
  return { values: now().steps.map((_, t) => at(t).map(inputShare)), most: 1 };
}

function drawCourse() {
  const [svg, { values, most }] = [byId('course'), course()];
  const [left, width] = [22, Math.max(svg.clientWidth, 260)];
  const height = Math.min(22, Math.max(10, 160 / data.slots));
  const step = (width - left) / values.length;
  const marks = now().steps.map(({ mark }) => mark);
  svg.replaceChildren();
  svg.setAttribute('viewBox', `0 0 ${width} ${height * data.slots + (marks.some(Boolean) ? 22 : 2)}`);
  values.forEach((slots, t) => slots.forEach((value, slot) => {
    const box = { x: left + t * step, y: slot * height, width: step - 1, height: height - 1, rx: 2 };
    add(svg, 'rect', { ...box, fill: css(ramp(value / most)) });
  }));
  for (let slot = 0; slot < data.slots; slot += height > 10 ? 1 : 2) {
    add(svg, 'text', { x: 4, y: (slot + 0.5) * height }, slot + 1);
  }
  marks.forEach((mark, t) => {
    if (mark) add(svg, 'text', { x: left + (t + 0.5) * step, y: height * data.slots + 11, 'text-anchor': 'middle' }, '▲');
  });
  add(svg, 'rect', { class: 'now', y: 0, width: step + 1, height: height * data.slots, rx: 3 });
  svg.dataset.left = left;
  svg.dataset.pitch = step;
  const name = byId('quantity').selectedOptions[0].textContent;
  svg.setAttribute('aria-label', `${name} of every slot at every step; the table of this step in words has the numbers.`);
  const meaning = [...new Set(marks.filter(Boolean))].map((mark) => ` ▲ ${mark}.`).join('');
  byId('course-note').textContent = `One row per slot, one column per step; the full colour is ${most.toFixed(2)}.${meaning}`;
}

function showCourse() {
  const svg = byId('course');
  const x = Number(svg.dataset.left) + shown.step * Number(svg.dataset.pitch) - 1;
  svg.querySelector('.now').setAttribute('x', x);
}

function buildMemory() {
  const box = byId('memory');
  box.replaceChildren();
  for (let slot = 0; slot < data.slots; slot += 1) {
    add(box, 'span', {}, data.names[slot]);
    add(box, 'canvas', { width: data.cells, height: 1, role: 'img' });
  }
}

function showMemory() {
  const change = byId('what').value === 'change';
  byId('memory').querySelectorAll('canvas').forEach((canvas, slot) => {
    const pen = canvas.getContext('2d', { willReadFrequently: true });
    const image = pen.createImageData(data.cells, 1);
    const values = memoryAt(now(), shown.step, slot, change);
    values.forEach((value, c) => image.data.set([...signed(value), 255], 4 * c));
    pen.putImageData(image, 0, 0);
    const moved = now().change[shown.step][slot].toFixed(2);
    canvas.setAttribute('aria-label', `${data.names[slot]}: values of the memory; this step changed it by ${moved}`);
  });
}

function showWords(weights) {
  const [table, step] = [byId('slots'), stepNow()];
  byId('sentence').textContent = sentence(step);
  table.replaceChildren();
  const head = add(add(table, 'thead'), 'tr');
  const titles = ['slot', 'attends most to', 'attention to the input', ...data.gates.map((gate) => `${gate} gate`), 'change'];
  for (const title of titles) add(head, 'th', { scope: 'col' }, title);
  const body = add(table, 'tbody');
  for (let slot = 0; slot < data.slots; slot += 1) {
    const [row, most] = [add(body, 'tr'), argmax(weights[slot])];
    add(row, 'th', { scope: 'row' }, slot + 1);
    add(row, 'td', {}, `${data.names[most]}, ${percent(weights[slot][most])}`);
    add(row, 'td', {}, percent(inputShare(weights[slot])));
    for (const gate of data.gates) add(row, 'td', {}, now().gates[gate][shown.step][slot].toFixed(2));
    add(row, 'td', {}, now().change[shown.step][slot].toFixed(2));
  }
}

function sentence(step) {
  const position = `Step ${shown.step + 1} of ${now().steps.length}: ${step.label}.`;
  const notes = [step.mark, step.note].filter(Boolean).map((text) => ` ${text}.`).join('');
  const best = step.answers.length ? ` The likeliest ${step.value === null ? 'answer' : 'action'} is ${step.answers[0][0]}, ${percent(step.answers[0][1])}.` : '';
  return `${position}${notes}${best} ${step.answers.length ? describeTruth(step) : ''}`.trim();
}
