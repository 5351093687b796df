"""What a track gives of its columns, whoever else reads it meanwhile."""

import threading

import numpy as np

from features.tracks import Track


def track(values):
    """Events of one customer, a second apart, with values."""
    n = len(values)
    times = np.arange(n) * 1_000_000
    columns = {"value": np.array(values), "has_value": np.ones(n, np.bool_)}
    return Track(np.array([0, n]), times, times, np.full(n, -1, np.int32), columns)


def test_where_gives_the_places_and_values_that_are_not_zero():
    found = track([5, 0, -2, 7]).where("late_hours")
    assert [part.tolist() for part in found] == [[0, 3], [5, 7]]
    assert found[1].dtype == np.int64


def test_a_thread_that_comes_while_another_works_a_column_out_gets_the_whole_of_it():
    slow, found = track([5, 0, 7]), []

    class Halting(dict):
        """A cache that lets another thread in after each thing that is kept."""

        def __setitem__(self, name, value):
            super().__setitem__(name, value)
            if threading.current_thread() is threading.main_thread():
                other = threading.Thread(target=lambda: found.append(slow.where("late_hours")))
                other.start()
                other.join()

    object.__setattr__(slow, "_cache", Halting())
    slow.where("late_hours")
    assert [[part.tolist() for part in one] for one in found] == [[[0, 2], [5, 7]]] * len(found)
    assert found
