<?php
// What the owner changes by the pages of the wiki is kept in the volume.
if (!defined('DOKU_CONF')) define('DOKU_CONF', '/data/conf/');
