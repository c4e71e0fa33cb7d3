"""Small edits that several passes make."""

from torch import fx, nn

from hwcomp.program import fresh_name


def only_user(node: fx.Node) -> fx.Node | None:
    """Return the one node that reads a node, or None if there are several, or it is the output."""
    users = tuple(node.users)
    return users[0] if len(users) == 1 and users[0].op != "output" else None


def call_instead(module: fx.GraphModule, node: fx.Node, replacement: nn.Module) -> None:
    """Make a node call another module; it keeps its name, and its module's path where no other node uses that."""
    calls = [other for other in module.graph.nodes if other.op == "call_module" and other.target == node.target]
    keeps_path = node.op == "call_module" and len(calls) == 1
    path = str(node.target) if keeps_path else fresh_name(module, node.name)
    module.add_submodule(path, replacement)
    tensors = tuple(node.all_input_nodes)
    node.op, node.target, node.args, node.kwargs = "call_module", path, tensors, {}


def erase_after(node: fx.Node, follower: fx.Node) -> None:
    """Remove a node's follower; what read it reads the node."""
    follower.replace_all_uses_with(node)
    node.graph.erase_node(follower)
