"""The table of AWS's page on missing data."""

import pytest

from llmops_twins.aws.services.cloudwatch.evaluation import _state

RETAINED = "OK"
# Data points oldest first: X breaches, 0 does not, - is missing. Then the state by how missing data are treated.
THREE_OF_THREE = {
    "0 - X - X": ("OK", "OK", "OK", "OK"),
    "- - - - 0": ("OK", "OK", "OK", "OK"),
    "- - - - -": ("INSUFFICIENT_DATA", RETAINED, "ALARM", "OK"),
    "0 X X - X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "- - X - -": ("ALARM", RETAINED, "ALARM", "OK"),
}
TWO_OF_THREE = {
    "0 - X - X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0 0 X 0 X": ("ALARM", "ALARM", "ALARM", "ALARM"),
    "0 - X - -": ("OK", "OK", "ALARM", "OK"),
    "- - - - 0": ("OK", "OK", "ALARM", "OK"),
    "- - - X -": ("ALARM", RETAINED, "ALARM", "OK"),
}
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
CASES = [
    (points, needed, treatment, state)
    for needed, table in ((3, THREE_OF_THREE), (2, TWO_OF_THREE))
    for points, states in table.items()
    for treatment, state in zip(TREATMENTS, states, strict=True)
]


@pytest.mark.parametrize(("points", "needed", "treatment", "state"), CASES)
def test_state_by_the_data_points_that_are_there(points: str, needed: int, treatment: str, state: str) -> None:
    newest_first = reversed(points.split())
    real = [(back, point == "X") for back, point in enumerate(newest_first, start=1) if point != "-"]
    alarm = {"TreatMissingData": treatment, "StateValue": RETAINED}
    assert _state(alarm, real, 3, needed) == state
