"""CLIPSeg: from a checkpoint of transformers to a bundle of the family `dense`."""
