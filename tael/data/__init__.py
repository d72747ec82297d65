"""From files of any listed format to clean splits, token shards and packed batches.

Takes its rules from `recipe/`; gives records to `task/` and batches to `train/`.
"""
