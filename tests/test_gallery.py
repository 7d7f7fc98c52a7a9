"""The gallery of the documentation is what its script makes of its list."""

import importlib.util
import itertools

from PIL import Image
import pytest

from tests.support import pages


@pytest.fixture(scope='module')
def gallery():
    """Returns the script as a module."""
    spec = importlib.util.spec_from_file_location('gallery', pages.ROOT / 'docs/gallery.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_the_one_that_the_script_writes(gallery):
    assert pages.PAGES['docs/gallery.md'] == gallery.page(gallery.read_seconds())


def test_the_folder_holds_the_pictures_of_the_list_and_each_was_timed(gallery):
    listed = [picture for entry in gallery.ENTRIES for picture in entry.pictures]
    wanted = {gallery.SECONDS.name, *(picture.name for picture in listed)}
    wanted |= {gallery._image(picture) for picture in listed}
    assert {path.name for path in gallery.PICTURES.iterdir()} == wanted
    assert gallery.read_seconds().keys() == {entry.name for entry in gallery.ENTRIES}


def test_pictures_are_small_files(gallery):
    limits = {'.png': 80, '.gif': 300, '.html': 400}
    sizes = {path.name: path.stat().st_size for path in gallery.PICTURES.iterdir()}
    large = {name: size for name, size in sizes.items() if size > 1000 * limits.get(name[-4:], 400)}
    assert not large


def test_every_source_lies_in_the_folder_of_its_entry(gallery):
    for entry in gallery.ENTRIES:
        folder = f'{gallery.RUNS}/{entry.name}/'
        assert all(picture.source.startswith(f'{entry.name}/') for picture in entry.pictures)
        directories = [
            word.split('=', 1)[1]
            for word in itertools.chain(*(command.split() for command in entry.commands))
            if word.startswith(('--run_dir=', '--output=', '--gif='))
        ]
        assert all(directory.startswith(folder) for directory in directories)


def test_a_picture_is_copied_with_few_colours(gallery, tmp_path):
    image = Image.linear_gradient('L').convert('RGB')
    gallery._write_small(image, tmp_path / 'a.png')
    small = Image.open(tmp_path / 'a.png')
    assert small.size == image.size
    assert len(image.getcolors()) == 256
    assert len(small.convert('RGB').getcolors()) <= 128
