// What the page of `launch.attention` does: it shows one step of one sequence at a time.
// The panels are in page_panels.js, the map and the points in page_scene.js.
//
// The data, written by page.py; T steps, L blocks, H heads, N slots, R queries, M keys (the slots,
// then the rows of the input), C cells of a slot's strip:
//   slots, names [M], inputColumns, heads, queries [L] (R of each block), gates (names), cells, limit,
//   about, answersTitle, facts, gatesNote, memoryNote (texts)
//   examples: title, steps [T] of {label, note, mark, answers [[text, probability]], truth, value},
//     attention [L] (base64 of uint16 [T, H, R, M], 65535 is 1), gates {name: [T][N]},
//     change [T][N], memory (base64 of int8 [T + 1, N, C], 127 is limit; the first is the initial state),
//     points (null or [T][1 or 2]), pictures (null or {height, width, colors: base64 of RGB of each step})
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const byId = (id) => document.getElementById(id);
const dark = matchMedia('(prefers-color-scheme: dark)');
const shown = { example: 0, step: 0, block: 0, head: 'mean', query: 'all', timer: 0 };

const RAMPS = {
  light: [[255, 250, 244], [249, 204, 160], [232, 124, 62], [176, 62, 16], [96, 28, 4]],
  dark: [[36, 39, 46], [92, 46, 24], [178, 76, 26], [244, 138, 78], [255, 222, 196]],
};
const SIGNED = {
  light: [[22, 74, 140], [132, 176, 222], [250, 248, 245], [240, 160, 104], [150, 48, 6]],
  dark: [[150, 200, 255], [52, 96, 150], [36, 39, 46], [160, 74, 30], [255, 170, 120]],
};
const PERIOD = 800; // milliseconds per step while playing

// --- Numbers and colours

function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Type(bytes.buffer);
}

function attentionAt(example, block, step, head) {
  const [queries, keys] = [data.queries[block], data.names.length];
  const values = example.attention[block];
  const at = (h, q, k) => values[((step * data.heads + h) * queries + q) * keys + k] / 65535;
  const heads = head === 'mean' ? [...Array(data.heads).keys()] : [Number(head)];
  const mean = (q, k) => heads.reduce((sum, h) => sum + at(h, q, k), 0) / heads.length;
  return [...Array(queries).keys()].map((q) => data.names.map((_, k) => mean(q, k)));
}

function memoryAt(example, step, slot, change) {
  const start = ((step + 1) * data.slots + slot) * data.cells;
  const before = start - data.slots * data.cells;
  return [...Array(data.cells).keys()].map(
    (c) => (example.memory[start + c] - (change ? example.memory[before + c] : 0)) / 127,
  );
}

function color(stops, part) {
  const position = Math.min(Math.max(part, 0), 1) * (stops.length - 1);
  const low = Math.min(Math.floor(position), stops.length - 2);
  return stops[low].map((from, i) => Math.round(from + (stops[low + 1][i] - from) * (position - low)));
}

const ramp = (part) => color(RAMPS[dark.matches ? 'dark' : 'light'], part);
const signed = (value) => color(SIGNED[dark.matches ? 'dark' : 'light'], (value + 1) / 2);
const css = (rgb) => `rgb(${rgb.join(' ')})`;

function textOn(rgb) {
  const linear = (v) => (v <= 10 ? v / 3295 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(rgb[0]) + 0.7152 * linear(rgb[1]) + 0.0722 * linear(rgb[2]);
  return light > 0.179 ? '#000000' : '#ffffff'; // whichever contrasts more
}

function percent(part) {
  if (part > 0 && part < 0.001) return '< 0.1 %';
  return `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)} %`;
}

function shortName(key) {
  if (key < data.slots) return `${key + 1}`;
  const inputs = data.names.length - data.slots;
  return inputs === 1 ? 'in' : `i${key - data.slots + 1}`;
}

const brief = (part) => part.toFixed(2).replace(/^0/, '');
const sum = (values) => values.reduce((total, value) => total + value, 0);
const argmax = (values) => values.indexOf(Math.max(...values));

// --- Elements

function add(parent, tag, attributes = {}, text = '') {
  const element = document.createElementNS(parent.namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== '') element.textContent = text;
  parent.append(element);
  return element;
}

function fill(select, pairs) {
  select.replaceChildren();
  for (const [value, text] of pairs) add(select, 'option', { value }, text);
}

function meter(parent, part, kind) {
  const box = add(parent, 'div', { class: `meter ${kind}` });
  add(box, 'i', { style: `--part: ${Math.min(Math.max(part, 0), 1)}` });
  return box;
}

const now = () => data.examples[shown.example];
const stepNow = () => now().steps[shown.step];
const weightsNow = () => attentionAt(now(), shown.block, shown.step, shown.head);
const isChosen = (query) => shown.query === 'all' || Number(shown.query) === query;
const inputShare = (weights) => sum(weights.slice(data.slots));

// --- Choices

function showStep() {
  const weights = weightsNow();
  showPosition();
  showScene();
  showMatrix(weights);
  showGraph(weights);
  showAnswers();
  showGates();
  showCourse();
  showMemory();
  showWords(weights);
  byId('live').setAttribute('aria-live', shown.timer ? 'off' : 'polite');
  byId('live').textContent = sentence(stepNow());
}

function showAll() {
  buildMatrix();
  drawCourse();
  showStep();
  byId('ramp').style.background = `linear-gradient(90deg, ${[0, 0.25, 0.5, 0.75, 1].map((part) => css(ramp(part))).join(',')})`;
}

function goTo(step) {
  shown.step = Math.min(Math.max(step, 0), now().steps.length - 1);
  showStep();
}

function chooseExample(index) {
  shown.example = index;
  shown.step = 0;
  byId('step').max = now().steps.length;
  drawSequence();
  showAll();
}

function chooseBlock(index) {
  shown.block = index;
  const queries = data.names.slice(0, data.queries[index]).map((name, q) => [q, name]);
  fill(byId('query'), [['all', 'all'], ...queries]);
  shown.query = 'all';
  showAll();
}

function play(on) {
  clearInterval(shown.timer);
  shown.timer = 0;
  if (on && shown.step === now().steps.length - 1) goTo(0);
  if (on) shown.timer = setInterval(playOn, PERIOD);
  byId('play').setAttribute('aria-label', on ? 'Pause' : 'Play');
  byId('play').querySelector('path').setAttribute('d', on ? 'M4 2.5h3v11H4zM9.5 2.5h3v11h-3z' : 'M4.5 2.5v11l9-5.5z');
}

function playOn() {
  goTo(shown.step + 1);
  if (shown.step === now().steps.length - 1) play(false);
}

// Whether a control needs a key itself; all others step, wherever the focus is.
function isOwn({ key, target }) {
  if (target.closest('button, summary')) return key === ' ';
  if (target.matches('select')) return key !== 'ArrowLeft' && key !== 'ArrowRight';
  if (target.matches('[type=radio]')) return key === ' ' || key.startsWith('Arrow');
  return target.matches('input') && key !== ' '; // the slider steps by itself
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (isOwn(event)) return;
  const steps = { ArrowLeft: shown.step - 1, ArrowRight: shown.step + 1, Home: 0, End: now().steps.length - 1 };
  if (event.key === ' ') play(!shown.timer);
  else if (event.key in steps) goTo(steps[event.key]);
  else return;
  event.preventDefault();
}

function listen() {
  byId('example').addEventListener('change', (event) => chooseExample(Number(event.target.value)));
  byId('block').addEventListener('change', (event) => chooseBlock(Number(event.target.value)));
  byId('query').addEventListener('change', (event) => { shown.query = event.target.value; showStep(); });
  byId('heads').addEventListener('change', (event) => { shown.head = event.target.value; showAll(); });
  byId('quantity').addEventListener('change', () => { drawCourse(); showCourse(); });
  byId('what').addEventListener('change', showMemory);
  byId('step').addEventListener('input', (event) => goTo(event.target.value - 1));
  byId('back').addEventListener('click', () => goTo(shown.step - 1));
  byId('next').addEventListener('click', () => goTo(shown.step + 1));
  byId('play').addEventListener('click', () => play(!shown.timer));
  byId('sequence').addEventListener('click', (event) => {
    const item = event.target.closest('li');
    if (item) goTo(Number(item.dataset.step));
  });
  byId('course').addEventListener('click', (event) => {
    const svg = byId('course');
    goTo(Math.floor((event.offsetX - svg.dataset.left) / svg.dataset.pitch));
  });
  document.addEventListener('keydown', onKey);
  dark.addEventListener('change', showAll);
  window.addEventListener('resize', () => { drawCourse(); showCourse(); });
}

function start() {
  for (const example of data.examples) {
    example.attention = example.attention.map((text) => decode(text, Uint16Array));
    example.memory = decode(example.memory, Int8Array);
    if (example.pictures) example.pictures.colors = decode(example.pictures.colors, Uint8Array);
    example.mostChange = Math.max(...example.change.flat(), 1e-9);
  }
  byId('about').textContent = data.about;
  byId('answer-title').textContent = data.answersTitle;
  byId('facts').textContent = data.facts;
  byId('gates-note').textContent = data.gatesNote;
  byId('memory-note').textContent = data.memoryNote;
  byId('block-field').hidden = data.queries.length === 1;
  fill(byId('example'), data.examples.map(({ title }, i) => [i, title]));
  fill(byId('block'), data.queries.map((_, i) => [i, `${i + 1}`]));
  const quantities = data.gates.map((gate) => [gate, `${gate} gate`]);
  fill(byId('quantity'), [['attention', 'attention to the input'], ...quantities, ['change', 'change of the memory']]);
  for (const head of ['mean', ...Array(data.heads).keys()]) {
    const label = add(byId('heads'), 'label');
    const checked = head === 'mean' ? { checked: '' } : {};
    add(label, 'input', { type: 'radio', name: 'head', value: head, ...checked });
    label.append(head === 'mean' ? 'mean' : `${head + 1}`);
  }
  buildMemory();
  listen();
  drawSequence();
  byId('step').max = now().steps.length;
  chooseBlock(0);
  goTo(Number(location.hash.slice(1)) - 1 || 0); // page.html#8 opens at step 8
}

start();
