"""Print what TensorBoard reads from a folder: `python read_events.py FOLDER`, in an environment that has it."""

import json
import sys

from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
    EventAccumulator,
)

found = EventAccumulator(sys.argv[1]).Reload()
scalars = {
    tag: [(each.wall_time, each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]
}
[recipe] = found.Tensors("recipe/text_summary")
print(json.dumps({"scalars": scalars, "recipe": recipe.tensor_proto.string_val[0].decode()}))
