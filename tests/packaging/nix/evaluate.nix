# As much of the module system as contrib/nixos/module.nix needs: options with types
# and defaults, and mkIf. NIX --eval --strict --json --arg module … --arg values …
{ module, values }:

let
  type = name: check: { inherit name check; };
  lib = {
    mkIf = condition: content: if condition then content else { };
    mkOption = option: option;
    mkEnableOption = text: {
      type = lib.types.bool;
      default = false;
      description = text;
    };
    optionalAttrs = condition: set: if condition then set else { };
    hasPrefix = prefix: text:
      builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    types = {
      bool = type "bool" builtins.isBool;
      str = type "str" builtins.isString;
      package = type "package" (value: builtins.isString value);
      port = type "port" (value: builtins.isInt value && value >= 0 && value <= 65535);
      nullOr = inner: type "null or ${inner.name}" (value: value == null || inner.check value);
    };
  };
  pkgs = { coreutils = "/coreutils"; util-linux = "/util-linux"; };

  made = import module { inherit lib pkgs; config = { services.ccproxy = given; }; };
  options = made.options.services.ccproxy;
  unknown = builtins.attrNames (builtins.removeAttrs values (builtins.attrNames options));
  given = builtins.mapAttrs
    (name: option:
      let value = values.${name} or option.default or (throw "${name} is not set");
      in if option.type.check value then value else throw "${name} is no ${option.type.name}")
    options;
in
if unknown != [ ] then throw "no such option: ${toString unknown}" else {
  config = made.config;
  described = builtins.mapAttrs (name: option: option.description) options;
  defaults = builtins.mapAttrs (name: option: option.default or null) options;
}
