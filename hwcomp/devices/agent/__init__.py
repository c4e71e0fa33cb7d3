"""The agent: runs and times models where it is started, asked on stdin and answering on stdout.

It is sent to devices as it is, in one zip archive (`hwcomp.devices.shipping`), and has another name there. So its
modules are written for Python 3.9 or newer, need ONNX Runtime and numpy (and apache-tvm where libraries are run), and
import each other by relative names and nothing else of hwcomp.

A message is the length of a JSON header (4 bytes, big-endian), the header, and then the blobs whose lengths
``header["blobs"]`` lists. A request names one of the verbs in `verbs.VERBS`; nothing else is ever executed.
"""
