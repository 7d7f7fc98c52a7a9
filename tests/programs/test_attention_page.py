"""The page of `launch.attention`: its data, and its behaviour in a real browser.

The browser is a Chromium of the system (Debian: `apt-get install chromium`), driven by playwright.
"""

import base64
import itertools
import json
import re
import shutil

import numpy as np
import pytest

from launch.inspection import page as page_lib
from tests.support import inspected

BROWSERS = ('chromium', 'chromium-browser', 'chromium-headless-shell', 'google-chrome')
SLOTS, KEYS, HEADS, STEPS = 4, 5, 2, 6


@pytest.fixture(scope='module')
def shown():
    """Returns a subject with two blocks, its traces, and their page."""
    subject, traces = inspected.traced((STEPS, 5), SLOTS, heads=HEADS)
    return subject, traces, page_lib.render(subject, traces)


@pytest.fixture(scope='module')
def file(shown, tmp_path_factory):
    """Returns the page's address as a file."""
    path = tmp_path_factory.mktemp('page') / 'page.html'
    path.write_text(shown[2], 'utf-8')
    return path.as_uri()


@pytest.fixture(scope='module')
def tab():
    """Returns a tab of a browser; without a browser, tests that need one are skipped."""
    playwright = pytest.importorskip('playwright.sync_api')
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f'wanted a browser, found none of {", ".join(BROWSERS)}')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=['--no-sandbox'])
        context = browser.new_context(reduced_motion='reduce')
        context.set_default_timeout(5000)
        yield context.new_page()
        browser.close()


@pytest.fixture
def visit(tab, file):
    """Returns a function that opens the page; no error and no request may follow."""
    printed, requested, visited = [], [], []
    listeners = {
        'console': lambda message: printed.append(message.text),
        'pageerror': lambda error: printed.append(str(error)),
        'request': lambda request: requested.append(request.url),
    }
    for event, listener in listeners.items():
        tab.on(event, listener)

    def visit(address=file, color_scheme='light'):
        tab.set_viewport_size({'width': 1200, 'height': 800})
        tab.emulate_media(color_scheme=color_scheme)
        visited.append(address.split('#')[0])  # what is requested
        tab.goto(address)
        return tab

    yield visit
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert printed == []
    assert requested == visited


def _numbers(page, selector):
    return page.eval_on_selector_all(selector, 'all => all.map(e => Number(e.dataset.value))')


def _matrix(page):
    return np.reshape(_numbers(page, '#matrix tbody td'), (-1, KEYS))


def _step(page):
    return int(page.input_value('#step'))


# --- The data


def _data(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_data_are_those_of_the_traces(shown):
    subject, traces, page = shown
    data = _data(page)
    assert data['queries'] == [KEYS, SLOTS]
    assert data['names'] == ['slot 1', 'slot 2', 'slot 3', 'slot 4', 'input']
    assert data == json.loads(json.dumps(page_lib.describe(subject, traces)))
    for example, trace in zip(data['examples'], traces, strict=True):
        for text, block in zip(example['attention'], trace.attention, strict=True):
            values = np.frombuffer(base64.b64decode(text), '<u2') / 65535
            np.testing.assert_allclose(values.reshape(block.shape), block, atol=1e-5)
        cells = np.frombuffer(base64.b64decode(example['memory']), 'i1') / 127 * data['limit']
        memory = np.concatenate([trace.before[:1], trace.memory])
        np.testing.assert_allclose(cells.reshape(memory.shape), memory, atol=data['limit'] / 250)
        for name, gate in trace.gates.items():
            np.testing.assert_allclose(example['gates'][name], gate.mean(-1), rtol=1e-4)


def test_the_change_of_a_slot_is_the_length_of_the_difference():
    subject, (trace,) = inspected.traced((1,), slots=2, units=2, heads=1, blocks=1, gates={})
    before, memory = np.zeros((1, 2, 2)), np.array([[[3.0, 4.0], [0.0, -2.0]]])
    data = page_lib.describe(subject, [trace._replace(before=before, memory=memory)])
    assert data['examples'][0]['change'] == [[5.0, 2.0]]
    assert data['limit'] == 4.0
    assert data['facts'] == '2 slots of 2 units · 1 attention head · 1 block'
    assert data['gatesNote'].startswith('This core has no gates')


def test_the_strips_of_a_large_memory_show_some_of_its_units():
    data = page_lib.describe(*inspected.traced((100,), slots=2, units=2500, gates={}))
    assert data['cells'] == 2500 // 4
    assert 'one in 4 of 2,500 units' in data['memoryNote']
    assert len(base64.b64decode(data['examples'][0]['memory'])) == 101 * 2 * 625 < 150_000


def test_no_text_of_a_task_ends_the_script_or_becomes_markup(shown):
    subject, traces, _ = shown
    steps = [step._replace(label='</script>@title@<b>') for step in subject.examples[0].steps]
    example = subject.examples[0]._replace(steps=tuple(steps), title='@data@')
    page = page_lib.render(subject._replace(examples=(example,)), traces[:1])
    assert page.count('</script>') == 2
    assert '<b>' not in page
    assert '<h1>a random core &amp; &lt;its&gt; title</h1>' in page
    example = _data(page)['examples'][0]
    assert example['steps'][0]['label'] == '</script>@title@<b>'
    assert example['title'] == '@data@'


def test_the_page_needs_nothing_else_and_is_small(shown):
    page = shown[2]
    assert len(page.encode()) < 100_000
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert 'http' not in re.sub('http-equiv|http://www.w3.org', '', page)


# --- Behaviour


@pytest.mark.parametrize(('part', 'step'), [('', 1), ('#4', 4), ('#99', STEPS), ('#x', 1)])
def test_the_address_names_the_step_at_which_the_page_opens(part, step, visit, file):
    page = visit(f'{file}?{step}{part}')  # another file, which the browser has not opened yet
    assert _step(page) == step
    assert page.inner_text('#count') == f'{step} of {STEPS}'


def test_keys_and_the_slider_go_from_step_to_step(visit):
    page = visit()
    steps = [_step(page)]
    for key in ('ArrowRight', 'ArrowRight', 'ArrowLeft', 'End', 'ArrowRight', 'Home', 'ArrowLeft'):
        page.keyboard.press(key)
        steps.append(_step(page))
    assert steps == [1, 2, 3, 2, STEPS, STEPS, 1, 1]
    page.focus('#step')
    page.keyboard.press('ArrowRight')
    assert _step(page) == 2
    assert page.inner_text('#count') == f'2 of {STEPS}'
    page.fill('#step', '5')
    assert page.inner_text('#sequence [aria-current]') == 'vector 5'
    page.click('#sequence li >> nth=2')
    assert _step(page) == 3
    assert page.inner_text('#note') == 'm is shown n = 2, m = 3'
    page.click('#back')
    page.click('#next')
    page.click('#next')
    assert _step(page) == 4


def test_playing_advances_to_the_end(visit, tab):
    tab.clock.install()
    page = visit()
    page.click('#play')
    assert page.get_attribute('#play', 'aria-label') == 'Pause'
    page.clock.run_for(1700)
    assert _step(page) >= 3
    page.click('#play')
    stopped = _step(page)
    page.clock.run_for(5000)
    assert _step(page) == stopped < STEPS
    page.click('#play')
    page.clock.run_for(20_000)
    assert _step(page) == STEPS
    assert page.get_attribute('#play', 'aria-label') == 'Play'


def test_the_matrix_is_the_attention_of_the_block_head_and_step(visit, shown):
    traces, page = shown[1], visit()
    for block, head, example in ((0, 'mean', 0), (0, '1', 1), (1, '1', 0), (1, '0', 1)):
        page.select_option('#example', index=example)
        page.select_option('#block', index=block)
        page.check(f'#heads input[value="{head}"]', force=True)
        page.fill('#step', '4')
        weights = traces[example].attention[block][3]
        wanted = weights.mean(0) if head == 'mean' else weights[int(head)]
        np.testing.assert_allclose(_matrix(page), wanted, atol=2e-5)
        texts = page.locator('#matrix tbody td span').all_inner_texts()
        rounded = [f'{value:.2f}'.removeprefix('0') for value in _matrix(page).flatten()]
        assert [abs(float(a) - float(b)) < 0.011 for a, b in zip(texts, rounded, strict=True)]


def test_gates_change_and_answers_are_those_of_the_step(visit, shown):
    trace, page = shown[1][0], visit()
    page.fill('#step', '3')
    for name, values in {
        'input': trace.gates['input'][2].mean(-1),
        'forget': trace.gates['forget'][2].mean(-1),
        'change': np.linalg.norm(trace.memory[2] - trace.before[2], axis=-1),
    }.items():
        got = _numbers(page, f'#gates td[data-name="{name}"]')
        np.testing.assert_allclose(got, values, rtol=1e-4)
    answers = page.locator('#answers li').all_inner_texts()
    texts = [' '.join(answer.split()) for answer in answers]
    assert texts == ['vector 3 50 %', 'vector 5 (true) 25 %', '<b> < 0.1 %']
    assert 'The true answer is “vector 5”' in page.inner_text('#truth')
    page.keyboard.press('Home')
    assert page.inner_text('#truth') == 'The model gives no answer at this step.'


def test_the_graph_shows_the_arrows_of_a_chosen_query(visit):
    page = visit()
    everything = page.locator('#graph .edge').count()
    page.select_option('#query', index=2)
    assert 0 < page.locator('#graph .edge').count() <= KEYS < everything
    assert page.get_attribute('#graph', 'aria-label').count('attends most to') == 1
    assert page.locator('#matrix tr.chosen th').all_inner_texts() == ['slot 2']


def test_the_strips_show_the_memory_and_its_change(visit, shown):
    trace, page = shown[1][0], visit()
    color = """() => [...document.querySelectorAll('#memory canvas')].map(c =>
        [...c.getContext('2d').getImageData(0, 0, c.width, 1).data].filter((_, i) => i % 4 < 3))"""
    values = np.reshape(page.evaluate(color), (SLOTS, -1, 3))
    warm = values[..., 0] > values[..., 2]  # more red than blue
    clear = np.abs(trace.memory[0]) > 0.1 * np.abs(trace.memory).max()
    np.testing.assert_array_equal(warm[clear], (trace.memory[0] > 0)[clear])
    page.select_option('#what', 'change')
    values = np.reshape(page.evaluate(color), (SLOTS, -1, 3))
    change = trace.memory[0] - trace.before[0]
    clear = np.abs(change) > 0.1 * np.abs(trace.memory).max()
    np.testing.assert_array_equal((values[..., 0] > values[..., 2])[clear], (change > 0)[clear])


def test_the_course_shows_the_chosen_quantity_and_a_click_goes_to_the_step(visit):
    page = visit()
    colors = """() => [...document.querySelectorAll('#course rect[fill]')]
        .map(r => r.getAttribute('fill'))"""
    before = page.evaluate(colors)
    assert len(before) == SLOTS * STEPS
    page.select_option('#quantity', 'forget')
    assert page.evaluate(colors) != before
    box = page.locator('#course').bounding_box()
    page.locator('#course').click(position={'x': box['width'] - 10, 'y': 20})
    assert _step(page) == STEPS
    assert '▲ m is shown' in page.inner_text('#course-note')


# --- The task


@pytest.fixture
def scene(visit, tmp_path):
    """Returns a function that opens a page with points or pictures, and an agent's values."""

    def scene(about='', value=None, **fields):
        subject, traces = inspected.traced((STEPS,), SLOTS, inputs=6)
        example = subject.examples[0]._replace(**fields)
        steps = tuple(
            step._replace(value=value and value + t) for t, step in enumerate(example.steps)
        )
        examples = (example._replace(steps=steps),)
        subject = subject._replace(examples=examples, about=about, input_columns=3)
        path = tmp_path / 'scene.html'
        path.write_text(page_lib.render(subject, traces), 'utf-8')
        return visit(path.as_uri())

    return scene


def test_the_page_says_what_the_task_is(scene, visit):
    page = scene('n is <b>a number</b>')
    assert page.inner_text('#about') == 'n is <b>a number</b>'
    assert not page.locator('#scene').is_visible()


@pytest.mark.parametrize('dimensions', [1, 2])
def test_vectors_are_points_where_they_are(dimensions, scene):
    points = np.random.default_rng(1).uniform(-1, 1, (STEPS, dimensions))
    page = scene(points=points)
    page.fill('#step', '4')
    assert not page.locator('#map').is_visible()
    centers = page.evaluate("""() => [...document.querySelectorAll('#points .dot')].map(e => {
        const box = e.getBBox(); return [box.x + box.width / 2, box.y + box.height / 2] })""")
    offsets = (np.array(centers) - [160, 44 if dimensions == 1 else 160]) / [136, -136]
    np.testing.assert_allclose(offsets[:, :dimensions], points, atol=1e-4)
    seen = page.eval_on_selector_all(
        '#points .dot', 'all => all.map(e => e.classList.contains("seen"))'
    )
    assert seen == [True] * 4 + [False] * 2
    assert page.locator('#points rect').count() == 1
    assert page.locator('#points .given').count() == 1
    label = page.get_attribute('#points', 'aria-label')
    assert f'vector 2 at {points[1, 0]:.2f}' in label
    assert label.endswith('m is vector 3, the answer is vector 5.')


def test_the_world_of_an_agent_is_a_map_beside_its_actions_and_value(scene):
    pictures = np.random.default_rng(2).integers(0, 256, (STEPS, 3, 4, 3)).astype(np.uint8)
    page = scene(pictures=pictures, value=0.25)
    page.fill('#step', '3')
    pixels = page.evaluate("""() => { const c = document.getElementById('map');
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }""")
    np.testing.assert_array_equal(np.reshape(pixels, (3, 4, 4))[..., :3], pictures[2])
    assert not page.locator('#points').is_visible()
    assert page.inner_text('#truth').endswith('the agent expects, is 2.25.')
    assert 'now 2.25' in page.locator('#values text').text_content()
    assert page.locator('#graph .input').count() == 6
    places = page.eval_on_selector_all(
        '#graph .input', 'all => all.map(e => [e.x, e.y].map(v => v.baseVal.value))'
    )
    assert [len({round(place[axis]) for place in places}) for axis in (0, 1)] == [3, 2]


# --- For everyone


def test_the_keyboard_reaches_every_control_in_the_order_of_the_page(visit):
    page = visit()
    order = []
    for _ in range(11):
        page.keyboard.press('Tab')
        order.append(page.evaluate('document.activeElement.id || document.activeElement.tagName'))
        outline = page.evaluate("""() => { const e = document.activeElement;
            return getComputedStyle(e.type === 'radio' ? e.parentElement : e).outlineStyle }""")
        assert outline == 'solid', order
    assert order == [
        'example', 'query', 'block', 'INPUT', 'back', 'play', 'next', 'step', 'quantity', 'what',
        'SUMMARY',
    ]  # fmt: skip


def test_arrow_keys_step_unless_a_control_needs_them(visit):
    page = visit()
    for selector in ('#example', '#query', 'summary', '#next', '#quantity'):
        page.focus(selector)
        page.keyboard.press('ArrowRight')
        page.keyboard.press('ArrowRight')
        page.keyboard.press('ArrowLeft')
        assert _step(page) == 2, selector
        page.keyboard.press('ArrowLeft')
    page.focus('#example')
    page.keyboard.press('ArrowDown')
    assert page.input_value('#example') == '1'
    assert _step(page) == 1
    page.focus('summary')
    page.keyboard.press(' ')
    assert page.locator('#slots').is_visible()
    assert page.get_attribute('#play', 'aria-label') == 'Play'


def test_keys_of_a_control_stay_its_own(visit):
    page = visit()
    page.focus('#heads input')
    page.keyboard.press('ArrowRight')
    assert page.is_checked('#heads input[value="0"]')
    assert _step(page) == 1


def test_a_screen_reader_finds_a_name_for_everything(visit):
    page = visit()
    for role, name in (
        ('combobox', 'Sequence'),
        ('combobox', 'Query'),
        ('combobox', 'Block'),
        ('group', 'Head'),
        ('radio', 'mean'),
        ('button', 'Play'),
        ('button', 'One step back'),
        ('button', 'One step forward'),
        ('slider', 'Step'),
        ('table', 'Attention weights'),
        ('columnheader', 'slot 1'),
        ('rowheader', 'slot 1'),
        ('table', 'Gates and change'),
        ('region', 'The slots as a graph'),
        ('img', 'Graph of the slots'),
    ):
        assert page.get_by_role(role, name=name).first.is_visible(), (role, name)
    nameless = page.evaluate("""() => [...document.querySelectorAll('[role=img]')]
        .filter(e => !e.getAttribute('aria-label')).length""")
    assert nameless == 0
    page.keyboard.press('ArrowRight')
    live = page.locator('#live')
    assert live.get_attribute('aria-live') == 'polite'
    assert live.inner_text().startswith(f'Step 2 of {STEPS}: vector 2. n = 2, m = 3.')
    assert page.get_attribute('#step', 'aria-valuetext') == f'2 of {STEPS}: vector 2'


def test_each_step_can_be_read_as_words(visit, shown):
    page = visit()
    page.click('summary')
    rows = page.locator('#slots tbody tr').all_inner_texts()
    assert len(rows) == SLOTS
    weights = shown[1][0].attention[0][0].mean(0)[:SLOTS]
    names = ['slot 1', 'slot 2', 'slot 3', 'slot 4', 'input']
    for row, values in zip(rows, weights, strict=True):
        assert f'{names[values.argmax()]}, {100 * values.max():.0f} %' in row


CONTRASTS = """() => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parts = [0.2126, 0.7152, 0.0722];
  const light = rgb => parts.reduce((sum, part, i) => sum + part * linear(rgb[i] / 255), 0);
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const shape = { text: e => parse(e.previousElementSibling.getAttribute('fill')
    || getComputedStyle(e.previousElementSibling).fill) };
  const found = [];
  for (const element of document.querySelectorAll('body *:not(script, style, option)')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const svg = element.closest('svg');
    const style = getComputedStyle(element);
    const back = svg && svg.id === 'graph' ? shape.text(element) : behind(svg || element);
    const front = parse(svg ? style.fill : style.color);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.outerHTML.slice(0, 80)]);
  }
  return found;
}"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_every_text_can_be_read_on_what_is_behind_it(scheme, visit):
    page = visit(color_scheme=scheme)
    page.click('summary')
    for head, step in itertools.product(('mean', '0'), (1, 3, STEPS)):
        page.check(f'#heads input[value="{head}"]', force=True)
        page.fill('#step', str(step))
        found = page.evaluate(CONTRASTS)
        assert len(found) > 60
        assert [pair for pair in found if pair[0] < 4.5] == []


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_the_numbers_of_slots_stand_out_however_much_a_step_changed_them(scheme, visit):
    page = visit(color_scheme=scheme)
    for step in range(1, STEPS + 1):
        page.fill('#step', str(step))
        found = [pair for pair in page.evaluate(CONTRASTS) if 'text-anchor' not in pair[1]]
        numbers = [
            ratio for ratio, text in found if text.startswith('<text x=') and 'fill="#' in text
        ]
        assert len(numbers) == SLOTS
        assert min(numbers) > 6


CUT = """() => [...document.querySelectorAll('th, h2, legend, b, .scroll')].filter(e =>
    e.checkVisibility() && e.clientWidth && e.scrollWidth > e.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""


def test_no_header_is_cut_on_a_phone(visit, tmp_path):
    large = tmp_path / 'large.html'
    large.write_text(page_lib.render(*inspected.traced((3,), 16, 64, heads=8)), 'utf-8')
    for addresses in ((), (large.as_uri(),)):
        page = visit(*addresses)
        page.click('summary')
        for width in (360, 1200):
            page.set_viewport_size({'width': width, 'height': 800})
            assert page.evaluate(CUT) == []


def test_light_and_dark_differ_at_once(visit):
    color = '(name) => getComputedStyle(document.querySelector(name)).backgroundColor'
    page, names = visit(), ('body', '#matrix tbody td')
    light = [page.evaluate(color, name) for name in names]
    page.emulate_media(color_scheme='dark')
    for pair in zip(names, light, strict=True):  # the script receives it a little later
        page.wait_for_function(f'([name, light]) => ({color})(name) !== light', arg=[*pair])


def test_a_narrow_screen_does_not_scroll_sideways(visit, tmp_path):
    gates = {'input': False, 'forget': False, 'output': False}
    subject, traces = inspected.traced((3,), 16, 64, heads=8, inputs=2, blocks=1, gates=gates)
    example = subject.examples[0]._replace(title='a very long title ' * 9)
    large = tmp_path / 'large.html'
    large.write_text(page_lib.render(subject._replace(title='a' * 99, examples=(example,)), traces))
    for addresses in ((), (large.as_uri(),)):
        page = visit(*addresses)
        page.click('summary')
        for width in (360, 320):
            page.set_viewport_size({'width': width, 'height': 800})
            assert page.evaluate('document.documentElement.scrollWidth') == width
        assert page.locator('#play').is_visible()


def test_motion_is_reduced_where_that_is_wished(visit):
    duration = "getComputedStyle(document.querySelector('#matrix tbody td')).transitionDuration"
    assert visit().evaluate(duration) == '0s'
