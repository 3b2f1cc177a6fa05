"""The numbers of a decoder-only transformer that memory depends on."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bot.core.chat.text import Text, t

SPELLED = "layers/hidden/heads/kv-heads/head-dim/intermediate/vocab[/max-positions]"
"""How people type a shape."""


class Shape(BaseModel):
    """The numbers, named as in a Hugging Face `config.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_hidden_layers: int = Field(ge=1, le=1000)
    """Transformer layers."""
    hidden_size: int = Field(ge=1, le=1_000_000)
    """The width of a token's vector between layers."""
    num_attention_heads: int = Field(ge=1, le=10_000)
    """Query heads of a layer; the tensor parallel size must divide them."""
    num_key_value_heads: int = Field(ge=1, le=10_000)
    """Heads of a layer that are kept in the KV cache; they divide the query heads."""
    head_dim: int = Field(ge=1, le=10_000)
    """The width of one head."""
    intermediate_size: int = Field(ge=1, le=10_000_000)
    """The width inside the MLP, of one expert if there are several."""
    vocab_size: int = Field(ge=1, le=10_000_000)
    """Tokens that the model knows."""
    max_position_embeddings: int = Field(default=32768, ge=1, le=100_000_000)
    """The longest context that it was made for, in tokens."""
    tie_word_embeddings: bool = False
    """Input and output share one embedding matrix."""
    num_experts: int = Field(default=1, ge=1, le=10_000)
    """MLPs of a layer: more than 1 in a mixture of experts."""

    @model_validator(mode="after")
    def _heads(self) -> "Shape":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError("attention heads must be a multiple of key-value heads")
        return self

    def __str__(self) -> str:
        """The shape as people type it, without tied embeddings and experts."""
        return "/".join(str(getattr(self, name)) for name in list(Shape.model_fields)[:8])

    @property
    def linear_weights(self) -> int:
        """The number of weights of attention and MLP, which quantisation makes smaller."""
        attention = 2 * self.hidden_size * self.head_dim
        attention *= self.num_attention_heads + self.num_key_value_heads
        mlp = 3 * self.hidden_size * self.intermediate_size * self.num_experts
        return self.num_hidden_layers * (attention + mlp)

    @property
    def embedding_weights(self) -> int:
        """The number of weights of the input and output embeddings, which stay fp16."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    @property
    def parameters(self) -> int:
        """The number of all weights."""
        return self.linear_weights + self.embedding_weights


def parse_shape(spelled: str) -> Shape:
    """Read `32/4096/32/8/128/14336/128256[/8192]`; ValueError if it is not written like that."""
    numbers = [int(number) for number in spelled.replace("x", "/").split("/")]
    if len(numbers) not in (7, 8):
        raise ValueError("seven or eight numbers")
    return Shape(**dict(zip(Shape.model_fields, numbers, strict=False)))


class BadConfig(ValueError):
    """A `config.json` that no shape can be read from."""

    def __init__(self, why: Text) -> None:
        super().__init__(why.key, why.params)
        self.why = why
        """The field that is wrong, in one sentence."""


def shape_from_config(config: Any) -> Shape:
    """Read a decoded Hugging Face `config.json`; BadConfig if it is not one, or a number is missing or out of
    range."""
    if not isinstance(config, dict):
        raise BadConfig(t("config.no_fields"))
    inner = config.get("text_config") or {}
    if not isinstance(inner, dict):
        raise _wrong("text_config", inner)
    config = {**config, **inner}
    heads, hidden = _whole(config, "num_attention_heads"), _whole(config, "hidden_size")
    tied = config.get("tie_word_embeddings")
    if tied is None:  # left out when it is the class's default, which is True for Gemma alone
        tied = str(config.get("model_type", "")).startswith("gemma")
    numbers = {
        "head_dim": hidden // heads,
        "num_key_value_heads": heads,
        "num_experts": config.get("num_local_experts") or 1,
        **{name: config[name] for name in Shape.model_fields if config.get(name) is not None},
        "tie_word_embeddings": tied,
    }
    try:
        return Shape(**numbers)
    except ValidationError as error:
        raise _explained(error) from None


def _whole(config: dict[str, Any], name: str) -> int:
    value = config.get(name)
    if value is None:
        raise BadConfig(t("config.missing", field=name))
    if not isinstance(value, int) or value < 1:
        raise _wrong(name, value)
    return value


def _explained(error: ValidationError) -> BadConfig:
    """The first thing that is wrong."""
    problem = error.errors()[0]
    if not problem["loc"]:
        return BadConfig(t("config.heads"))
    name = str(problem["loc"][0])
    missing = problem["type"] == "missing"
    return BadConfig(t("config.missing", field=name)) if missing else _wrong(name, problem["input"])


def _wrong(name: str, value: Any) -> BadConfig:
    return BadConfig(t("config.wrong", field=name, value=str(value)[:60]))
