"""The words of a prompt: fixed vocabulary (grammar, phrases, parser), any text, tokenizer."""

__all__: list[str] = []
