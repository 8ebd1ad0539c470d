"""From a prompt to what a model understands: vocabulary, phrases, tokenizer."""
