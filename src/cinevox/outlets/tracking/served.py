"""The encoding model as MLflow runs it. MLflow reads this file as code (`models from code`); nothing is pickled.

Only `models.register` names this file. A package that imported it would set the model of whatever MLflow is doing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import DEADLINE_EXCEEDED, INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

from cinevox.encoding.clips import CLIPS_AT_ONCE, Predictor
from cinevox.encoding.decoding import TimeUpError, Until
from cinevox.encoding.store import read
from cinevox.errors import InputError
from cinevox.outlets.tracking.models import CAUTIONS, LIMITS, WEIGHTS, output_names

SECONDS = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"  # after these MLflow answers, whatever the model does; 60 by default


class Served(PythonModel):
    """A table in, a table out: a line for each clip, `<subject>.<roi>` the mean response over its voxels.

    Of a clip, the column `cautions` says what makes its line a weaker statement than for the training clips.

    In goes a column `clip` with the content of an mp4 file (in JSON as base64). Never a path: a server that reads paths
    reads any file.
    """

    def load_context(self, context: Any) -> None:
        files = {name: Path(file) for name, file in context.artifacts.items()}
        weights = {name.removeprefix(WEIGHTS): file for name, file in files.items() if name.startswith(WEIGHTS)}
        self.predictor = Predictor(read(files["encoding"]), weights)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        until = Until.after(float(os.environ.get(SECONDS, 60)))
        try:
            if len(model_input) > CLIPS_AT_ONCE or not len(model_input):
                raise InputError(f"{len(model_input)} clips in a request; expected 1 to {CLIPS_AT_ONCE}")
            return self._predicted(model_input, until)
        except TimeUpError as error:
            raise MlflowException(str(error), error_code=DEADLINE_EXCEEDED) from None
        except InputError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None

    def _predicted(self, given: pd.DataFrame, until: Until) -> pd.DataFrame:
        encoding = self.predictor.encoding
        responses, clips = self.predictor.of_bytes(list(given["clip"]), LIMITS, until)
        found = pd.DataFrame(encoding.means(responses).astype(float), columns=output_names(encoding.about))
        found[CAUTIONS] = [" ".join(encoding.about.cautions_for(clip)) for clip in clips]
        return found


mlflow.models.set_model(Served())
