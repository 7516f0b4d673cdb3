"""What firmware needs of a machine: CFI flash to start from, and QEMU's fw_cfg to learn from."""

from avmm_firmware.flash import Flash
from avmm_firmware.flash_device import FlashDevice, create_flash
from avmm_firmware.fw_cfg import FwCfg
from avmm_firmware.fw_cfg_device import FwCfgDevice, create_fw_cfg

__all__ = ["Flash", "FlashDevice", "FwCfg", "FwCfgDevice", "create_flash", "create_fw_cfg"]
