"""What MLflow's own use of other packages warns of, for tests that work with it; every other warning is an error."""

import pytest

IGNORED = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # SQLAlchemy
    pytest.mark.filterwarnings("ignore:Operation with range:DeprecationWarning"),  # pandas
    pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning"),
]
