"""Benchmarks of detection: its speed, its fast twin and its accuracy, and whether `compare` names the better model.

Ours and the peer run in one process tree on one machine, in turn, over the same video with the same weights. The peers
are ultralytics/yolov5 v7.0 in an environment of its own and a plain loop over OpenVINO's own runtime.
"""
