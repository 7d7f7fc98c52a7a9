"""A `base.Progress` that keeps what it is given."""


class Recorder:
    def __init__(self):
        self.lines = []
        self.updates = []  # (title, done, total, unit)

    def say(self, line):
        self.lines.append(line)

    def update(self, *update):
        self.updates.append(update)
