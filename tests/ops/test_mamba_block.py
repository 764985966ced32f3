"""The operators suffice for the published Mamba block: outputs, gradients and states of single steps as recorded."""

import torch
import torch.nn.functional as F

from nas.golden import filled
from ops import selective_scan, selective_scan_step

RECORDED = "ops_mamba_block"


def _projected(x, weights, config):
    """Step sizes without their bias, B and C from x [..., inner]."""
    sizes = (config["dt_rank"], config["d_state"], config["d_state"])
    dt, b, c = F.linear(x, weights["x_proj.weight"]).split(sizes, -1)
    return F.linear(dt, weights["dt_proj.weight"]), b, c


def _block(x, weights, config):
    value, z = F.linear(x, weights["in_proj.weight"]).mT.chunk(2, 1)
    padded = F.pad(value, (config["d_conv"] - 1, 0))
    u = F.silu(F.conv1d(padded, weights["conv1d.weight"], weights["conv1d.bias"], groups=value.shape[1]))
    dt, b, c = (tensor.mT for tensor in _projected(u.mT, weights, config))
    rates = -weights["A_log"].exp()
    y = selective_scan(u, dt, rates, b, c, weights["D"], z, weights["dt_proj.bias"], delta_softplus=True)
    return F.linear(y.mT, weights["out_proj.weight"])


def _step(x, states, weights, config):
    """One position x [B, width]; states: the last inputs of the convolution, and that of the scan."""
    value, z = F.linear(x, weights["in_proj.weight"]).chunk(2, -1)
    window = torch.cat((states[0][..., 1:], value[..., None]), -1)
    u = F.silu((window * weights["conv1d.weight"][:, 0]).sum(-1) + weights["conv1d.bias"])
    dt, b, c = _projected(u, weights, config)
    rates, options = -weights["A_log"].exp(), {"delta_softplus": True}
    y, state = selective_scan_step(states[1], u, dt, rates, b, c, weights["D"], z, weights["dt_proj.bias"], **options)
    return F.linear(y, weights["out_proj.weight"]), (window, state)


def test_the_block_and_its_steps_are_the_recorded_ones(case):
    if case.name == "weight":
        for key, tensor in case.arrays.items():
            assert torch.equal(filled(key, tensor.shape).float(), tensor)
        return
    config = case.config
    weights = {key: case.leaf(key, filled(key, shape).float().double()) for key, shape in config["state"].items()}
    case.agrees(y=_block(case.get("x"), weights, config))
    inner = config["expand"] * config["d_model"]
    states = tuple(torch.zeros(2, inner, config[size], dtype=torch.float64) for size in ("d_conv", "d_state"))
    outputs = []
    with torch.no_grad():
        for position in range(config["length"]):
            y, states = _step(case["x"][:, position], states, weights, config)
            outputs.append(y)
    torch.testing.assert_close(torch.stack(outputs, 1), case["y"], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(states[0][0], case["final_conv_state_first"], rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(states[1][0], case["final_ssm_state_first"], rtol=1e-11, atol=1e-11)
