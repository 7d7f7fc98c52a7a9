"""The kernels of a program that XLA compiled for a GPU, read off its text.

In a scheduled program every instruction but a few that move nothing is a launch of a kernel, in a
loop once in every step. Where kernels are as short as their launch their number is the time, to
first order. A loop whose number of steps is not known, and a `conditional`, are worse than their
kernels: the host waits for the device before it goes on. A `sort` is several launches and is
counted as one. Programs for TPUs are not read: their instructions are no launches.
"""

from collections.abc import Iterable, Mapping
import re
from typing import Any, NamedTuple

# What moves nothing on a GPU; `-done` and `-update` belong to the `-start` that is counted.
_FREE = {
    *('parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast'),
    *('after-all', 'add-dependency', 'opt-barrier', 'domain'),
}
_PRODUCTS = re.compile('gemm|cublas|cudnn|^dot|^convolution')


class Block(NamedTuple):
    """What one pass through a sequence of instructions launches."""

    kernels: Mapping[str, int]  # by kind, outside loops and conditionals
    loops: tuple['Loop', ...] = ()  # in the program's order
    conditionals: tuple[tuple['Block', ...], ...] = ()  # the branches of each


class Loop(NamedTuple):
    """A loop; the kernels of its condition count as its body's where the steps are not known."""

    steps: int | None
    body: Block


class _Instruction(NamedTuple):
    name: str
    opcode: str
    line: str

    def called(self, *roles: str) -> list[str]:
        """Returns the computations that it calls in some roles, such as 'body'."""
        found = re.findall(rf'\b(?:{"|".join(roles)})=(\{{[^}}]*\}}|%?[\w.\-]+)', self.line)
        return [name for group in found for name in re.findall(r'[\w.\-]+', group)]


def read(text: str) -> Block:
    """Returns the kernels of a program, given what `compiled.as_text()` returns."""
    computations: dict[str, list[_Instruction]] = {}
    entry = current = ''
    for line in text.splitlines():
        if heading := re.match(r'(ENTRY )?%?([\w.\-]+) \(.*\{$', line):
            current = heading[2]
            entry = current if heading[1] else entry
            computations[current] = []
        elif current and (found := re.match(r'\s+(?:ROOT )?%?([\w.\-]+) = (.*)', line)):
            opcode = re.search(r'\s([a-z][a-z0-9\-]*)\(', f' {found[2]}')
            if opcode:
                computations[current].append(_Instruction(found[1], opcode[1], line))
    return _block(computations, [entry])


def _block(computations: Mapping[str, list[_Instruction]], names: Iterable[str]) -> Block:
    """Returns what some computations launch, one after the other."""
    kernels: dict[str, int] = {}
    loops: list[Loop] = []
    conditionals: list[tuple[Block, ...]] = []
    for instruction in (each for name in names for each in computations[name]):
        if instruction.opcode == 'while':
            loops.append(_loop(computations, instruction))
        elif instruction.opcode == 'conditional':
            roles = 'branch_computations', 'true_computation', 'false_computation'
            branches = instruction.called(*roles)
            conditionals.append(tuple(_block(computations, [name]) for name in branches))
        elif instruction.opcode == 'call':
            inner = _block(computations, instruction.called('to_apply'))
            kernels = {
                kind: kernels.get(kind, 0) + inner.kernels.get(kind, 0)
                for kind in {**kernels, **inner.kernels}
            }
            loops += inner.loops
            conditionals += inner.conditionals
        elif kind := _kind(instruction):
            kernels[kind] = kernels.get(kind, 0) + 1
    return Block(kernels, tuple(loops), tuple(conditionals))


def _loop(computations: Mapping[str, list[_Instruction]], instruction: _Instruction) -> Loop:
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', instruction.line)
    roles = ('body',) if known else ('condition', 'body')
    return Loop(int(known[1]) if known else None, _block(computations, instruction.called(*roles)))


def _kind(instruction: _Instruction) -> str:
    """Returns what a kernel does as far as its name says, '' for what is none."""
    name, opcode = instruction.name, instruction.opcode
    if opcode in _FREE or opcode.endswith(('-done', '-update')):
        return ''
    target = re.search(r'custom_call_target="([^"]*)"', instruction.line)
    if _PRODUCTS.search(f'{target[1] if target else name}'.lower()):
        return 'product'
    if opcode != 'fusion':
        return opcode.removesuffix('-start')
    for kind in ('scatter', 'sort'):
        if kind in name:
            return kind
    return 'reduction' if 'reduce' in name or 'softmax' in name else 'elementwise'


def count(block: Block) -> int:
    """Returns how many kernels a pass launches, with all steps of its loops.

    Of a loop whose steps are not known one is counted; of a conditional the longest branch and one
    for its condition.
    """
    loops = sum(
        (1 if loop.steps is None else loop.steps) * count(loop.body) for loop in block.loops
    )
    branches = sum(1 + max(map(count, each), default=0) for each in block.conditionals)
    return sum(block.kernels.values()) + loops + branches


def waits(block: Block) -> int:
    """Returns how many loops of unknown length and conditionals a program has, nested ones too."""
    inner = [loop.body for loop in block.loops]
    inner += [branch for branches in block.conditionals for branch in branches]
    own = sum(loop.steps is None for loop in block.loops) + len(block.conditionals)
    return own + sum(map(waits, inner))


def as_json(block: Block) -> dict[str, Any]:
    """Returns a block as what JSON can hold, with `total`, what `count` returns."""
    loops = [{'steps': loop.steps, 'body': as_json(loop.body)} for loop in block.loops]
    branches = [[as_json(branch) for branch in each] for each in block.conditionals]
    kernels = dict(block.kernels)
    return {'total': count(block), 'kernels': kernels, 'loops': loops, 'conditionals': branches}


def describe(block: Block, where: str = 'the program') -> list[str]:
    """Returns the kernels of a block and, indented, of every loop and branch in it.

    Args:
      block: what to describe.
      where: what the block is.
    """
    kinds = sorted(block.kernels.items(), key=lambda item: -item[1])
    own = ', '.join(f'{number} {kind}' for kind, number in kinds)
    lines = [f'{where}: {count(block):,} kernels' + (f', its own {own}' if own else '')]
    inner = []
    for loop in block.loops:
        steps = 'an unknown number of' if loop.steps is None else f'{loop.steps:,}'
        inner.append((loop.body, f'each of {steps} steps of a loop'))
    for branches in block.conditionals:
        inner += [(branch, 'a branch of a conditional') for branch in branches]
    return lines + [f'  {line}' for each in inner for line in describe(*each)]
