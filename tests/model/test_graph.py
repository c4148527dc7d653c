from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.graph import ancestors, dependents, find_cycles, topological_order

nodes = st.integers(0, 8)
graphs = st.dictionaries(nodes, st.lists(nodes, max_size=4))


def test_a_cycle_is_given_with_its_path():
    assert find_cycles({"x": ["a"], "a": ["b"], "b": ["c", "a"], "c": []}) == [["a", "b", "a"]]
    assert find_cycles({"a": ["a"]}) == [["a", "a"]]
    assert find_cycles({"a": ["b"], "b": ["a"], "c": ["d"], "d": ["c"]}) == [["a", "b", "a"], ["c", "d", "c"]]


@given(graphs)
def test_there_is_a_cycle_exactly_if_not_everything_can_be_ordered(graph):
    assert bool(find_cycles(graph)) == (len(topological_order(graph)) < len(dependents(graph)))


@given(graphs)
def test_every_cycle_that_is_found_is_one_and_shares_no_node(graph):
    seen = []
    for cycle in find_cycles(graph):
        assert cycle[0] == cycle[-1]
        assert all(b in graph[a] for a, b in zip(cycle, cycle[1:], strict=False))
        seen += cycle[:-1]
    assert len(seen) == len(set(seen))


@given(graphs)
def test_in_topological_order_everything_comes_after_what_it_depends_on(graph):
    order = topological_order(graph)
    for place, node in enumerate(order):
        assert set(graph.get(node, ())) <= set(order[:place])


@given(graphs)
def test_ancestors_are_closed_under_dependencies(graph):
    for node in graph:
        found = ancestors(graph, node)
        assert found >= set(graph[node])
        assert all(set(graph.get(one, ())) <= found for one in found)


def test_dependents_turn_the_graph_around():
    assert dependents({"a": [], "b": ["a", "a"], "c": ["a", "b"]}) == {"a": ["b", "c"], "b": ["c"], "c": []}


def test_a_chain_of_100000_is_no_trouble():
    chain = {n: [n + 1] for n in range(100_000)}
    assert topological_order(chain)[-1] == 0
    assert find_cycles({**chain, 100_000: [0]})[0][:2] == [0, 1]
    assert len(ancestors(chain, 0)) == 100_000
