"""What MLflow runs to load a registered encoder: a model from code, so that nothing is pickled."""

from mlflow.models import set_model

from multimodal.encoder_serving import EncoderModel

set_model(EncoderModel())
