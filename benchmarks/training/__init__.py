"""How fast training is: against ultralytics/yolov5 v7.0, against the bare model, and lever by lever.

`python -m benchmarks.training --help` lists the benchmarks; each prints one JSON line for each figure. The other
trainer lives in an environment of its own under ~/.cache/masktrain/peers, which is made on first use, and is only ever
run as a command-line program.
"""
