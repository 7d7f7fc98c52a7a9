"""What an experiment with an agent measures, prints and draws, the same for every environment."""

from collections.abc import Callable, Mapping, Sequence
import os
import types
from typing import Any

import chex

from launch.agents import configuration, learning, network, rollout
from launch.agents import evaluation as evaluation_lib
from launch.runs import display, labels, metrics, plots
from launch.training import experiment, task


def build(config: configuration.Config, source: rollout.Source, measure: str) -> task.Task:
    """Returns the task of an agent.

    Args:
      config: the flags.
      source: where the episodes come from.
      measure: the metric by which runs are compared, 'return' or 'success'.
    """
    functions = network.make(config, source.environment)
    evaluate = evaluation_lib.make(source, functions)

    def test(params: chex.ArrayTree, thorough: bool) -> dict[str, Any]:
        del thorough  # nothing more can be measured
        size = config.final_evaluation_size
        results = evaluate(params, size, kinds=True)
        results |= {f'random_{name}': value for name, value in evaluate(None, size).items()}
        return {'episodes': size, 'test': results[measure], **results}

    in_training = lambda params: evaluate(params, config.evaluation_size)  # noqa: E731
    return learning.make_task(config, source, functions, in_training, test)


def describe(
    config: configuration.Config,
    evaluation: experiment.Evaluation,
    kinds: Mapping[str, str] = types.MappingProxyType({}),
) -> str:
    """Returns means and standard errors of the agent and of the uniformly random policy.

    Args:
      config: the flags.
      evaluation: what was measured.
      kinds: the kinds of episodes that are measured apart, as in `rollout.Source`, to how to call
        them; a kind of which there were too few has no line.
    """
    steps = evaluation['step'] * config.frames
    lines = [f'{steps:,} environment steps; {evaluation["episodes"]:,} held-out episodes']
    apart = {f'{kind}_': words for kind, words in kinds.items()}
    for prefix, who in {'': 'the agent', **apart, 'random_': 'uniformly random policy'}.items():
        parts = []
        for name in ('return', 'length', 'success'):
            if f'{prefix}{name}' in evaluation:
                value, error = evaluation[f'{prefix}{name}'], evaluation[f'{prefix}{name}_error']
                parts.append(f'{name} {display.number(value)} ± {error:.2g}')
        if count := prefix and evaluation.get(f'{prefix}episodes'):
            parts.append(f'of {count:,} episodes')
        if parts:
            lines.append(f'  {who:23}  {", ".join(parts)}')
    return '\n'.join(lines)


def drawer(
    measure: str,
    title: Callable[[Any], str],
    levels: Callable[[Any], Mapping[str, float]],
) -> Callable[..., Sequence[str]]:
    """Returns what draws the curves of a run over environment steps, for an `Experiment`.

    Args:
      measure: as in `build`.
      title: the environment of a configuration.
      levels: heights of the measure that others published for it, by name.
    """

    def draw(
        config: Any, run_dir: str, rows: experiment.Rows, evaluation: experiment.Evaluation
    ) -> Sequence[str]:
        picture = os.path.join(run_dir, f'{measure}.png')
        columns = {'training': f'training_{measure}', 'evaluation': measure}
        plots.plot_curves(
            {
                name: [(step * config.frames, x) for step, x in metrics.points(rows, column)]
                for name, column in columns.items()
            },
            picture,
            title=f'{plots.core_name(config.core)}: {title(config)}',
            x_label=labels.X_LABELS['frames'],
            y_label=labels.axis_name(measure),
            baselines={
                'uniformly random policy': evaluation[f'random_{measure}'],
                **levels(config),
            },
            log_scale=False,
            background=['training'],
            styles=plots.core_styles({'evaluation': config.core}),
        )
        return [picture]

    return draw
