"""From a prompt to what a model understands: vocabulary, phrases, tokenizer."""

__all__: list[str] = []
