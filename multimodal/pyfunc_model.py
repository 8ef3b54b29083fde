"""What MLflow runs to load a registered model: a model from code, so that nothing is pickled."""

from mlflow.models import set_model

from multimodal.serving import TextModel

set_model(TextModel())
