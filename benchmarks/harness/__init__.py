"""What the questions share: models, photos, peers, timing by turns, tables and pictures."""
