"""A trained run from Python: `trained.load(run_dir)`; see docs/trained_runs.md."""

from launch.trained.agent import Agent as Agent
from launch.trained.language_model import LanguageModel as LanguageModel
from launch.trained.learning_to_execute import LearningToExecute as LearningToExecute
from launch.trained.loading import load as load
from launch.trained.nth_farthest import NthFarthest as NthFarthest
